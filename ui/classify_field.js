// A field of a smear with its cells as boxes: choose, draw, move, resize, give a class, take out; by mouse and by key.
// Boxes are squares in the picture's pixels; what they look like on the screen is in hundredths of the picture.
const MIN_SIDE = 8 // pixels of the picture
const DRAG = 4 // pixels of the screen that make a press a drag
const ZOOMS = [1, 1.5, 2, 3, 4, 6]
const views = new WeakMap() // parent → what only this browser knows: zoom, mode, what is being dragged

export default function ({ data, parentElement: parent, setTriggerValue }) {
  const view = views.get(parent) ?? { zoom: 0, adding: false, moving: false, drag: null, selected: null, shown: null, held: null }
  views.set(parent, view)
  Object.assign(view, { data, parent, queue: queueOf(parent, data, setTriggerValue) })
  const part = (name) => parent.querySelector(`.${name}`)
  Object.assign(view, { stage: part("stage"), boxes: part("boxes"), tools: part("tools"), frame: part("frame") })
  view.draft = part("draft")

  const image = parent.querySelector("img")
  if (image.src !== data.image) {
    image.src = data.image
    if (view.picture !== data.picture) Object.assign(view, { zoom: 0, adding: false, moving: false, drag: null, held: null })
  }
  view.picture = data.picture
  image.alt = data.alt
  // The server's word on what is chosen is old where something else was chosen since.
  const choosing = view.later || view.queue.waiting.some((act) => ["select", "add"].includes(act.do))
  if (!choosing && view.shown !== data.selected) view.selected = view.shown = data.selected
  drawTools(view)
  drawBoxes(view)
  fit(view)
  listen(view)
  replay(view)
  return view.queue.end
}

// Drawing

function drawBoxes(view) {
  const { data, boxes } = view
  keep(boxes, data.cells, newBox).forEach((box, place) => {
    const cell = data.cells[place]
    box.dataset.id = cell.id
    if (view.drag?.id !== cell.id) placeBox(view, box, view.moving?.id === cell.id ? view.moving.box : cell.box)
    const [tag] = box.children
    tag.textContent = cell.tag
    const right = cell.box[0] + cell.box[2] > 1.3 * data.width // its tag goes to the left, where there is room for it
    box.className = `box ${cell.state}${cell.box[1] < 0.06 * data.height ? " top" : ""}${right ? " right" : ""}`
    box.style.setProperty("--colour", cell.colour)
    box.title = cell.title
    box.setAttribute("aria-label", cell.title)
    choose(view, box, cell.id === view.selected)
  })
  if (![...boxes.children].some((box) => box.tabIndex === 0) && boxes.firstChild) boxes.firstChild.tabIndex = 0
}

function newBox() {
  const box = node("button", "box", node("span", "tag"), node("span", "handle"))
  box.type = "button"
  box.tabIndex = -1
  return box
}

function choose(view, box, chosen) {
  box.setAttribute("aria-pressed", chosen)
  box.classList.toggle("moving", chosen && Boolean(view.moving))
  if (chosen) for (const other of view.boxes.children) other.tabIndex = other === box ? 0 : -1
}

function placeBox(view, box, [x0, y0, x1, y1]) {
  const { width, height } = view.data
  const style = { left: x0 / width, top: y0 / height, width: (x1 - x0) / width, height: (y1 - y0) / height }
  for (const [key, value] of Object.entries(style)) box.style[key] = `${100 * value}%`
  // What isn't seen of it at the top, at the left and at the right.
  const unseen = { "--over": -y0 / (y1 - y0), "--before": -x0 / (x1 - x0), "--beyond": (x1 - width) / (x1 - x0) }
  for (const [key, share] of Object.entries(unseen)) box.style.setProperty(key, `${100 * Math.max(0, share)}%`)
  box.style.zIndex = 1000 - Math.min(900, Math.round((90 * (x1 - x0)) / width)) // small ones stay within reach
}

function drawTools(view) {
  const { data, tools } = view
  const items = [
    ...data.classes.map((cls, place) => ({ ...cls, act: "label", kind: "class", key: place < 9 ? `${place + 1}` : "" })),
    { act: "remove", kind: "plain", title: cellOf(view)?.state === "removed" ? "Put back" : "Not a cell", key: "Del" },
    { act: "adding", kind: "plain", title: "Add a cell", key: "A", pressed: view.adding },
    { act: "undo", kind: "plain", title: "Undo", key: "U", off: !data.can_undo },
    { act: "out", kind: "zoom", title: "−", label: "Zoom out", off: view.zoom === 0 },
    { act: "in", kind: "zoom", title: "+", label: "Zoom in", off: view.zoom === ZOOMS.length - 1 },
  ]
  keep(tools, items, newTool).forEach((tool, place) => {
    const item = items[place]
    const [dot, words, key] = tool.children
    tool.className = item.kind
    tool.dataset.act = item.act
    tool.dataset.name = item.name ?? ""
    dot.style.background = item.colour ?? ""
    words.textContent = item.title
    key.textContent = item.key ?? ""
    tool.disabled = Boolean(item.off) || (["label", "remove"].includes(item.act) && !cellOf(view))
    if (item.label) tool.setAttribute("aria-label", item.label)
    else tool.removeAttribute("aria-label")
    if (item.act === "adding") tool.setAttribute("aria-pressed", view.adding)
    else if (item.act === "label") tool.setAttribute("aria-pressed", cellOf(view)?.confirmed === item.name)
    else tool.removeAttribute("aria-pressed")
  })
  view.stage.classList.toggle("adding", view.adding)
  view.parent.querySelector(".say").textContent = say(view)
}

function say(view) {
  if (view.adding) return "Click the middle of a cell, or drag a square around it. Esc leaves."
  if (view.moving) return "Arrow keys move the box, + and − resize it, Enter keeps it, Esc leaves."
  return view.data.say
}

function fit(view) {
  const { width, height } = view.data
  const zoom = ZOOMS[view.zoom]
  // At its smallest the whole picture is seen without scrolling the page.
  view.stage.style.width = `min(${100 * zoom}%, calc(${(zoom * width) / height} * 68vh))`
  view.stage.style.aspectRatio = `${width} / ${height}`
}

// What a person does

function listen(view) {
  view.tools.onclick = (event) => {
    const tool = event.target.closest("button")
    if (tool && !tool.disabled) act(view, tool.dataset.act, tool.dataset.name)
  }
  view.stage.onpointerdown = (event) => press(view, event)
  view.stage.onpointermove = (event) => drag(view, event)
  view.stage.onpointerup = (event) => release(view, event)
  view.stage.onpointercancel = () => {
    view.drag = null
    view.draft.hidden = true
    drawBoxes(view)
  }
  if (!view.listening) {
    view.listening = true
    view.boxes.addEventListener("focusin", (event) => {
      const box = event.target.closest(".box")
      if (box && !view.drag && view.selected !== box.dataset.id) select(view, box.dataset.id)
    })
  }
  // Also where a tool has the focus: after a click on "Not a cell" the keys go on.
  view.parent.querySelector(".editor").onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    if (key(view, keyOf(event))) event.preventDefault()
  }
}

function cellOf(view, id = view.selected) {
  return view.data.cells.find((cell) => cell.id === id)
}

function act(view, name, cls) {
  const cell = cellOf(view)
  if (name === "in" || name === "out") return zoom(view, name === "in" ? 1 : -1)
  if (name === "undo") return view.data.can_undo && view.queue.send({ do: "undo" })
  if (name === "adding") {
    view.adding = !view.adding
    view.moving = null
    return drawTools(view)
  }
  if (!cell) return
  if (name === "label" && cell.confirmed !== cls) view.queue.send({ do: "label", cell: cell.id, label: cls, box: cell.box })
  if (name === "remove") view.queue.send({ do: cell.state === "removed" ? "restore" : "remove", cell: cell.id })
  drawBoxes(view)
  drawTools(view)
}

function select(view, id) {
  view.selected = id
  view.moving = null
  drawBoxes(view)
  drawTools(view)
  clearTimeout(view.later) // the arrow keys may run past many
  view.later = setTimeout(() => {
    view.later = null
    view.queue.send({ do: "select", cell: id })
  }, 120)
}

function zoom(view, by) {
  const { frame, stage } = view
  const middle = (frame.scrollLeft + frame.clientWidth / 2) / stage.clientWidth
  const centre = (frame.scrollTop + frame.clientHeight / 2) / stage.clientHeight
  view.zoom = Math.max(0, Math.min(ZOOMS.length - 1, view.zoom + by))
  fit(view)
  const cell = cellOf(view)
  const [x, y] = cell
    ? [(cell.box[0] + cell.box[2]) / 2 / view.data.width, (cell.box[1] + cell.box[3]) / 2 / view.data.height]
    : [middle, centre]
  frame.scrollLeft = x * stage.clientWidth - frame.clientWidth / 2
  frame.scrollTop = y * stage.clientHeight - frame.clientHeight / 2
  drawTools(view)
}

// By pointer

function at(view, event) {
  const place = view.stage.getBoundingClientRect()
  const { width, height } = view.data
  return [((event.clientX - place.left) / place.width) * width, ((event.clientY - place.top) / place.height) * height]
}

function press(view, event) {
  if (event.button !== 0) return
  const box = view.adding ? null : event.target.closest(".box")
  if (!view.adding && !box) return
  const [x, y] = at(view, event)
  const cell = box && cellOf(view, box.dataset.id)
  view.drag = {
    id: cell?.id, box: cell?.box, node: box, x, y, px: event.clientX, py: event.clientY,
    what: box ? (event.target.closest(".handle") ? "resize" : "move") : "draw", far: false,
  }
  if (cell && view.selected !== cell.id) select(view, cell.id)
  view.stage.setPointerCapture(event.pointerId)
}

function drag(view, event) {
  const { drag } = view
  if (!drag) return
  drag.far ||= Math.hypot(event.clientX - drag.px, event.clientY - drag.py) > DRAG
  if (!drag.far) return
  event.preventDefault()
  const [x, y] = at(view, event)
  drag.now = dragged(view, drag, x, y)
  if (drag.what === "draw") {
    view.draft.hidden = false
    placeBox(view, view.draft, drag.now)
  } else placeBox(view, drag.node, drag.now)
}

function dragged(view, { what, box, x: fromX, y: fromY }, x, y) {
  if (what === "move") {
    const [dx, dy] = [Math.round(x - fromX), Math.round(y - fromY)]
    return inside(view, [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy])
  }
  if (what === "resize") {
    const side = Math.max(MIN_SIDE, Math.round(Math.max(x - box[0], y - box[1])))
    return inside(view, [box[0], box[1], box[0] + side, box[1] + side])
  }
  return square((fromX + x) / 2, (fromY + y) / 2, Math.max(Math.abs(x - fromX), Math.abs(y - fromY)))
}

function square(x, y, side) {
  side = Math.max(MIN_SIDE, Math.round(side))
  const [left, top] = [Math.round(x - side / 2), Math.round(y - side / 2)]
  return [left, top, left + side, top + side]
}

// The middle stays on the picture; the square may reach over its border, as those of found cells do.
function inside(view, [x0, y0, x1, y1]) {
  const { width, height } = view.data
  const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2]
  return square(Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y)), x1 - x0)
}

function release(view, event) {
  const { drag } = view
  view.drag = null
  view.draft.hidden = true
  if (!drag) return
  if (drag.what === "draw") {
    const [x, y] = at(view, event)
    add(view, drag.now ?? square(x, y, view.data.usual_side))
    view.tools.querySelector("[data-act=adding]").focus({ preventScroll: true }) // the press took it out of the editor
  } else if (drag.now) send(view, drag.id, drag.now)
  else drag.node.focus({ preventScroll: true })
}

function add(view, box) {
  clearTimeout(view.later) // else the cell before would be chosen after this one
  view.later = null
  view.adding = false
  view.selected = null // what is pressed from now on is meant for the new cell, which the server has yet to name
  view.held = []
  drawBoxes(view)
  drawTools(view)
  view.queue.send({ do: "add", box })
}

// Does what was pressed while a cell was being added, once it is there; where it was refused, none of it.
function replay(view) {
  const { held, queue } = view
  if (!held || queue.waiting.some((act) => act.do === "add")) return
  view.held = null
  if (cellOf(view)) for (const pressed of held) key(view, pressed)
}

function send(view, id, box) {
  const cell = cellOf(view, id)
  if (!cell || String(cell.box) === String(box)) return
  view.queue.send({ do: "move", cell: id, box })
}

// By key

function key(view, pressed) {
  if (view.held) return view.held.push(pressed), pressed !== "Tab"
  if (view.moving) return keyWhileMoving(view, pressed)
  const cells = view.data.cells
  const place = cells.findIndex((cell) => cell.id === view.selected)
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }
  if (pressed in steps || pressed === "Home" || pressed === "End") {
    const to = { Home: 0, End: cells.length - 1 }[pressed] ?? (place + steps[pressed] + cells.length) % cells.length
    view.boxes.children[to]?.focus()
    return cells.length > 0
  }
  const cls = classOfKey(pressed, view.data.classes)
  if (cls) return act(view, "label", cls.name), true
  const cell = cellOf(view)
  const named = { Delete: "remove", Backspace: "remove", u: "undo", "+": "in", "=": "in", "-": "out" }[pressed]
  if (named) return act(view, named), true
  if (pressed === "a") {
    // By key there is no place to point at: a box in the middle of what is seen, to be moved from there.
    const seen = view.frame.getBoundingClientRect()
    const middle = { clientX: seen.left + seen.width / 2, clientY: seen.top + seen.height / 2 }
    add(view, square(...at(view, middle), view.data.usual_side))
    return true
  }
  if (pressed === "c" && cell?.named) return act(view, "label", cell.named), true
  if (pressed === "m" && cell) {
    view.moving = { id: cell.id, box: cell.box }
    drawTools(view)
    drawBoxes(view)
    return true
  }
  if (pressed === "Escape" && view.adding) return act(view, "adding"), true
  return false
}

function keyWhileMoving(view, pressed) {
  const { moving, data } = view
  const step = Math.max(1, Math.round(data.width / 200))
  const [x0, y0, x1, y1] = moving.box
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }
  const grows = { "+": step, "=": step, "-": -step }
  if (pressed in moves) {
    const [dx, dy] = moves[pressed]
    moving.box = inside(view, [x0 + dx, y0 + dy, x1 + dx, y1 + dy])
  } else if (pressed in grows) {
    moving.box = square((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0 + 2 * grows[pressed])
  } else if (pressed === "Enter" || pressed === "Escape") {
    view.moving = null
    if (pressed === "Enter") send(view, moving.id, moving.box)
    drawTools(view)
  } else return pressed !== "Tab"
  drawBoxes(view)
  return true
}
