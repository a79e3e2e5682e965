// Learning curves: plots over the same epochs, with one zoom for all of them. Nodes are kept from run to run and only
// what changed is written, so that nothing flickers while a network trains.
const MARGIN = { left: 48, right: 14, top: 26, bottom: 34 }
const HEIGHT = 280
const DRAG = 5 // pixels: less is a click
const CLOSEST = 0.001 // of an epoch: the least stretch that is looked at
const SPLITS = ["validation", "train", "step"]
const WORDS = { validation: "validation", train: "training", step: "steps" }
const charts = new WeakMap()

export default function ({ data, parentElement, setStateValue }) {
  let chart = charts.get(parentElement)
  if (!chart) charts.set(parentElement, (chart = new Chart(parentElement.querySelector(".curves"), data.zoom)))
  chart.keep = (zoom) => setStateValue("zoom", zoom)
  chart.observer.observe(chart.root.querySelector(".plots"))
  chart.show(data)
  const call = (chart.calls += 1)
  return () => {
    // On a slow machine Streamlit ends an earlier call after a later one: only the last one's end is the chart's.
    if (chart.calls === call) chart.observer.disconnect()
  }
}

class Chart {
  constructor(root, zoom) {
    this.root = root
    this.zoom = zoom // [first, last] epoch, or null for all; what the server says of it later is older than this
    this.at = null // the epoch whose values are shown
    this.calls = 0
    this.plots = []
    this.colours = new Map() // a run keeps its colour while it is in the chart
    this.values = root.querySelector(".values")
    this.button = root.querySelector("button")
    this.button.onclick = () => {
      this.plots[0].svg.focus() // before the button is disabled, which would lose the keyboard's place
      this.setZoom(null)
    }
    this.observer = new ResizeObserver(() => this.draw())
  }

  show(data) {
    this.data = data
    this.paint()
    write(this.root.querySelector(".told"), data.words)
    while (this.plots.length < data.plots.length) this.plots.push(new Plot(this))
    this.plots.forEach((plot, place) => (plot.data = data.plots[place]))
    this.draw()
  }

  // The theme's colours, as custom properties: a change of theme changes them and no line is drawn anew.
  paint() {
    const theme = getComputedStyle(this.root).getPropertyValue("--st-chart-categorical-colors").split(",")
    theme.forEach((colour, place) => this.root.style.setProperty(`--colour-${place}`, colour.trim()))
    const shown = new Set(this.data.runs.map((run) => run.id))
    for (const id of this.colours.keys()) if (!shown.has(id)) this.colours.delete(id)
    for (const { id } of this.data.runs) {
      const taken = new Set(this.colours.values())
      if (!this.colours.has(id)) this.colours.set(id, theme.findIndex((_, place) => !taken.has(place)))
    }
    const legend = this.root.querySelector("ul")
    sized(legend, this.data.runs.length, () => node("li", "", node("i"), node("span")))
    this.data.runs.forEach((run, place) => {
      const entry = legend.children[place]
      entry.style.setProperty("--colour", this.colour(place))
      write(entry.lastChild, run.name)
      entry.title = run.name
    })
  }

  colour(run) {
    return `var(--colour-${this.colours.get(this.data.runs[run].id)})`
  }

  whole() {
    return [0, Math.max(0, ...this.data.plots.flatMap((plot) => plot.lines.map((line) => line.x.at(-1) ?? 0)))]
  }

  // What is looked at; a zoom that none of the curves reaches, as of other runs, counts for nothing.
  range() {
    const whole = this.whole()
    return this.zoom && this.zoom[0] < whole[1] ? this.zoom : whole
  }

  setZoom(zoom) {
    if (zoom ? zoom[1] - zoom[0] < CLOSEST : !this.zoom) return
    this.zoom = zoom
    this.draw()
    this.keep(zoom)
  }

  // Half or twice the stretch, around the place that is pointed at.
  closer(times) {
    const [[first, last], whole] = [this.range(), this.whole()]
    const half = (times * (last - first)) / 2
    const middle = this.at ?? (first + last) / 2
    const zoom = [Math.max(whole[0], middle - half), Math.min(whole[1], middle + half)]
    this.setZoom(zoom[0] <= whole[0] && zoom[1] >= whole[1] ? null : zoom)
  }

  draw() {
    if (!this.data || !this.root.clientWidth) return
    this.button.disabled = !this.zoom
    for (const plot of this.plots) plot.draw(this.range())
    this.showValues()
  }

  // ---- The values at a place

  // The places that can be pointed at: epochs, and steps where no epoch has ended in what is looked at.
  places() {
    const [first, last] = this.range()
    const lines = this.data.plots.flatMap((plot) => plot.lines)
    const of = (wanted) => [
      ...new Set(lines.filter(wanted).flatMap((line) => line.x.filter((x) => x >= first && x <= last))),
    ]
    const epochs = of((line) => line.split !== "step")
    return (epochs.length ? epochs : of((line) => line.split === "step")).sort((a, b) => a - b)
  }

  point(x, plot) {
    this.beside = plot
    const places = x === null ? [] : this.places()
    this.at = places.length ? places.reduce((a, b) => (Math.abs(b - x) < Math.abs(a - x) ? b : a)) : null
    this.showValues()
  }

  step(by, plot) {
    const places = this.places()
    const now = places.findIndex((place) => place >= (this.at ?? -1))
    this.beside = plot
    this.at = places[this.at === null ? (by > 0 ? 0 : places.length - 1) : clamp(now + by, 0, places.length - 1)] ?? null
    this.showValues()
  }

  showValues() {
    const [first, last] = this.range()
    if (this.at !== null && (this.at < first || this.at > last)) this.at = null
    for (const plot of this.plots) plot.drawCursor(this.at)
    this.values.hidden = this.at === null
    if (this.at !== null) {
      this.fillValues()
      this.placeValues()
    }
  }

  fillValues() {
    const columns = this.data.plots.flatMap((plot) =>
      SPLITS.filter((split) => plot.lines.some((line) => line.split === split)).map((split) => ({ plot, split })),
    )
    const [head, body] = [this.values.querySelector("thead"), this.values.querySelector("tbody")]
    sized(head, 1, () => node("tr", "", node("th")))
    sized(head.firstChild, columns.length + 1, () => node("th", "", node("b"), node("span")))
    write(head.firstChild.firstChild, `Epoch ${+this.at.toFixed(2)}`)
    columns.forEach(({ plot, split }, place) => {
      const [title, word] = head.firstChild.children[place + 1].children
      write(title, plot.title)
      write(word, WORDS[split])
    })
    const rows = this.data.runs.map((run, number) => ({
      run,
      number,
      values: columns.map(({ plot, split }) => {
        const line = plot.lines.find((each) => each.run === number && each.split === split)
        const value = line ? valueAt(line, this.at) : null
        return value === null ? "–" : exact(value, plot.percent)
      }),
    }))
    const told = rows.filter(({ values }) => values.some((value) => value !== "–"))
    sized(body, told.length, () => node("tr", "", node("th", "", node("i"), node("span"))))
    told.forEach(({ run, number, values }, place) => {
      const row = body.children[place]
      row.style.setProperty("--colour", this.colour(number))
      write(row.firstChild.lastChild, run.name)
      sized(row, columns.length + 1, () => node("td"))
      values.forEach((value, column) => write(row.children[column + 1], value))
    })
  }

  placeValues() {
    const [plot, here] = [this.beside ?? this.plots[0], this.values.parentElement.getBoundingClientRect()]
    const box = plot.svg.getBoundingClientRect()
    const [x, width] = [box.left - here.left + plot.toX(this.at), this.values.offsetWidth]
    const left = x + 12 + width <= here.width ? x + 12 : x - 12 - width
    this.values.style.left = `${clamp(left, 0, Math.max(0, here.width - width))}px`
    this.values.style.top = `${box.top - here.top + MARGIN.top + 6}px`
  }
}
