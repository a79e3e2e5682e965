// What the chart reckons, and how its nodes are made and written to.

function drawable(value, plot) {
  return value !== null && (!plot.log || value > 0)
}

// The lowest and highest value between two epochs, with some room; where lines are cut off, their value there counts.
function extent(plot, first, last) {
  let [low, high] = [Infinity, -Infinity]
  const take = (value) => ([low, high] = [Math.min(low, value), Math.max(high, value)])
  for (const { x, y } of plot.lines) {
    for (let i = 0; i < x.length; i++) {
      if (!drawable(y[i], plot)) continue
      if (x[i] >= first && x[i] <= last) take(y[i])
      if (i === 0 || !drawable(y[i - 1], plot)) continue
      for (const edge of [first, last]) {
        if (x[i - 1] < edge && edge < x[i]) take(y[i - 1] + ((edge - x[i - 1]) / (x[i] - x[i - 1])) * (y[i] - y[i - 1]))
      }
    }
  }
  if (low > high) return plot.log ? [0.1, 1] : [0, 1]
  if (plot.log) {
    const room = Math.max(1.02, (high / low) ** 0.05)
    return [low / room, high * room]
  }
  const room = 0.05 * (high - low || Math.abs(high) || 1)
  return [low - room, high + room]
}

// Round figures between two, about `count` of them.
function ticks(low, high, count, least = 0) {
  const raw = (high - low) / Math.max(2, count)
  const power = 10 ** Math.floor(Math.log10(raw))
  const by = Math.max(least, [1, 2, 5, 10].map((times) => times * power).find((each) => each >= raw * 0.999))
  const decimals = Math.max(0, -Math.floor(Math.log10(by) + 1e-9))
  const marks = []
  for (let number = Math.ceil(low / by - 1e-9); number * by <= high + 1e-9 * by; number++) {
    marks.push({ at: number * by, label: (number * by).toFixed(decimals).replace("-", "−") })
  }
  return marks
}

function levels(plot, low, high) {
  if (plot.percent) {
    return ticks(100 * low, 100 * high, 5)
      .filter(({ at }) => at <= 100 && at >= 0)
      .map(({ at, label }) => ({ at: at / 100, label: `${label}%` }))
  }
  const marks = []
  for (let power = Math.floor(Math.log10(low)); plot.log && power <= Math.log10(high); power++) {
    for (const times of [1, 2, 5]) {
      const at = times * 10 ** power
      if (at >= low && at <= high) marks.push({ at, label: String(+at.toPrecision(1)), round: times === 1 })
    }
  }
  if (marks.length < 3) return ticks(low, high, 5)
  return marks.length > 9 ? marks.filter(({ round }) => round) : marks
}

// What a line last stood at by an epoch; null before its beginning and after its end.
function valueAt({ x, y }, epoch) {
  if (!x.length || epoch > x.at(-1)) return null
  const after = x.findIndex((each) => each > epoch)
  return after === 0 ? null : y[(after < 0 ? x.length : after) - 1]
}

function exact(value, percent) {
  return percent ? `${(100 * value).toFixed(1)}%` : value.toPrecision(4)
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high)
}

// ---- Nodes: made once, and written to only where something changes

function node(name, text, ...children) {
  const made = document.createElement(name)
  made.append(...(text ? [text] : []), ...children)
  return made
}

function drawn(name, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  return made
}

function sized(parent, count, make) {
  while (parent.children.length > count) parent.lastChild.remove()
  while (parent.children.length < count) parent.append(make())
}

function write(target, text) {
  if (target.textContent !== text) target.textContent = text
}

function set(target, name, value) {
  if (target.getAttribute(name) !== String(value)) target.setAttribute(name, value)
}
