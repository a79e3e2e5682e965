// One plot of the chart: axes, lines, and what the pointer and the keys do in it.
class Plot {
  constructor(chart) {
    this.chart = chart
    const clip = `inside-${chart.plots.length}`
    this.inside = drawn("rect", { x: MARGIN.left, y: 0, height: HEIGHT - MARGIN.bottom })
    this.across = drawn("g", { class: "ticks across" })
    this.up = drawn("g", { class: "ticks up" })
    this.lines = drawn("g", { "clip-path": `url(#${clip})` })
    this.band = drawn("rect", { class: "band", y: MARGIN.top, height: HEIGHT - MARGIN.top - MARGIN.bottom })
    this.cursor = drawn("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom })
    this.dots = drawn("g", { "clip-path": `url(#${clip})` })
    this.title = drawn("text", { class: "title", x: 0, y: 12 })
    this.unit = drawn("text", { class: "unit", y: HEIGHT - 4 })
    write(this.unit, "epoch")
    const mask = drawn("clipPath", { id: clip })
    mask.append(this.inside)
    this.svg = drawn("svg", { role: "application", "aria-roledescription": "chart", tabindex: 0, height: HEIGHT })
    this.svg.append(mask, this.up, this.across, this.lines, this.band, this.cursor, this.dots, this.title, this.unit)
    chart.values.before(this.svg)
    this.listen()
  }

  listen() {
    const { svg, chart } = this
    let start = null
    const here = (event) =>
      clamp(event.clientX - svg.getBoundingClientRect().left, MARGIN.left, this.width - MARGIN.right)
    const end = () => {
      start = null
      set(this.band, "width", 0)
    }
    svg.onpointerdown = (event) => {
      if (event.button !== 0) return
      start = here(event)
      svg.setPointerCapture(event.pointerId)
    }
    svg.onpointermove = (event) => {
      chart.point(this.toEpoch(here(event)), this)
      if (start === null) return
      set(this.band, "x", Math.min(start, here(event)))
      set(this.band, "width", Math.abs(start - here(event)))
    }
    svg.onpointerup = (event) => {
      if (start !== null && Math.abs(here(event) - start) > DRAG) {
        chart.setZoom([start, here(event)].sort((a, b) => a - b).map((x) => this.toEpoch(x)))
      }
      end()
    }
    svg.onpointercancel = end
    svg.onpointerleave = svg.onblur = () => start === null && chart.point(null, this)
    svg.ondblclick = () => chart.setZoom(null)
    svg.onkeydown = (event) => {
      const act = {
        ArrowLeft: () => chart.step(-1, this),
        ArrowRight: () => chart.step(1, this),
        "+": () => chart.closer(0.5),
        "-": () => chart.closer(2),
        Escape: () => chart.setZoom(null),
      }[event.key]
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return
      event.preventDefault()
      event.stopPropagation()
      act()
    }
  }

  toX(epoch) {
    return MARGIN.left + ((epoch - this.first) / (this.last - this.first)) * (this.width - MARGIN.left - MARGIN.right)
  }

  toEpoch(x) {
    return this.first + ((x - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right)) * (this.last - this.first)
  }

  toY(value) {
    const at = this.data.log ? Math.log(value / this.low) / Math.log(this.high / this.low) : null
    const share = at ?? (value - this.low) / (this.high - this.low)
    return HEIGHT - MARGIN.bottom - share * (HEIGHT - MARGIN.bottom - MARGIN.top)
  }

  draw([first, last]) {
    const { data, chart } = this
    this.width = this.svg.clientWidth
    ;[this.first, this.last] = [first, last]
    ;[this.low, this.high] = extent(data, first, last)
    set(this.inside, "width", Math.max(0, this.width - MARGIN.left - MARGIN.right))
    write(this.title, data.title)
    set(this.unit, "x", this.width - MARGIN.right)
    set(this.svg, "aria-label", `${data.title} over the epochs: arrow keys tell the values, + and − look closer or wider`)
    const across = ticks(first, last, this.width / 55, last - first >= 2 ? 1 : 0)
    this.drawTicks(this.across, across, (epoch) => [this.toX(epoch), HEIGHT - MARGIN.bottom])
    this.drawTicks(this.up, levels(data, this.low, this.high), (value) => [MARGIN.left, this.toY(value)])
    sized(this.lines, data.lines.length, () => drawn("path"))
    // The pale lines come first in the data, so the others are drawn over them
    data.lines.forEach((line, place) => {
      const path = this.lines.children[place]
      set(path, "class", `line ${line.split}`)
      set(path, "style", `--colour: ${chart.colour(line.run)}`)
      set(path, "d", this.path(line))
    })
  }

  drawTicks(group, marks, place) {
    sized(group, marks.length, () => {
      const mark = drawn("g")
      mark.append(drawn("line"), drawn("text"))
      return mark
    })
    marks.forEach(({ at, label }, number) => {
      const [mark, [x, y]] = [group.children[number], place(at)]
      set(mark, "transform", `translate(${x.toFixed(1)},${y.toFixed(1)})`)
      write(mark.lastChild, label)
      if (group === this.up) set(mark.firstChild, "x2", Math.max(0, this.width - MARGIN.left - MARGIN.right))
      else set(mark.firstChild, "y2", 4)
    })
  }

  // A point by itself becomes a short stroke, and where there is no number the line has a gap.
  path({ x, y }) {
    const parts = [[]]
    for (let i = 0; i < x.length; i++) {
      if (x[i + 1] < this.first || x[i - 1] > this.last) continue
      if (drawable(y[i], this.data)) parts.at(-1).push(`${this.toX(x[i]).toFixed(1)},${this.toY(y[i]).toFixed(1)}`)
      else if (parts.at(-1).length) parts.push([])
    }
    const stroke = (part) => (part.length > 1 ? `M${part.join("L")}` : part.length ? `M${part[0]}m-4,0h8` : "")
    return parts.map(stroke).join("")
  }

  drawCursor(epoch) {
    const marked = epoch === null ? [] : this.data.lines.filter((line) => line.split !== "step")
    const values = marked.map((line) => [line, valueAt(line, epoch)])
    const seen = values.filter(([, value]) => drawable(value, this.data))
    set(this.cursor, "visibility", epoch === null ? "hidden" : "visible")
    if (epoch !== null) for (const end of ["x1", "x2"]) set(this.cursor, end, this.toX(epoch).toFixed(1))
    sized(this.dots, seen.length, () => drawn("circle", { r: 3.5 }))
    seen.forEach(([line, value], place) => {
      const dot = this.dots.children[place]
      set(dot, "cx", this.toX(epoch).toFixed(1))
      set(dot, "cy", this.toY(value).toFixed(1))
      set(dot, "style", `--colour: ${this.chart.colour(line.run)}`)
    })
  }
}
