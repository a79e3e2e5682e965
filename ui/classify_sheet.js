// The cells of a slide as tiles, to be labelled quickly: a click gives what the brush says, a digit gives a class and
// goes on to the next. What a person does is seen at once; the server's word follows.
const AS_CALLED = ""
const NOT_A_CELL = Symbol("not a cell") // no class is called so, whatever its name
const brushes = new WeakMap() // parent → the class that a click gives, or one of these two

export default function ({ data, parentElement: parent, setTriggerValue }) {
  const part = (name) => parent.querySelector(`.${name}`)
  const view = { data, parent, tools: part("tools"), sheet: part("sheet"), queue: queueOf(parent, data, setTriggerValue) }
  drawTools(view)
  keep(view.sheet, data.cells, newTile).forEach((tile, place) => fill(view, tile, data.cells[place]))
  const current = [...view.sheet.children].find((tile) => tile.tabIndex === 0) ?? view.sheet.firstChild
  if (current) focusable(view.sheet, current)
  part("say").textContent = data.say
  listen(view)
  return view.queue.end
}

// Drawing

function drawTools(view) {
  const { data, tools, parent } = view
  const brush = brushes.get(parent) ?? AS_CALLED
  const items = [
    { brush: AS_CALLED, title: "As it is called", key: "C" },
    ...data.classes.map((cls, place) => ({ brush: cls.name, ...cls, key: place < 9 ? `${place + 1}` : "" })),
    { brush: NOT_A_CELL, kind: "plain", title: "Not a cell", key: "Del" },
    { undo: true, kind: "plain", title: "Undo", key: "U", off: !data.can_undo },
  ]
  keep(tools, items, newTool).forEach((tool, place) => {
    const item = items[place]
    const [dot, words, key] = tool.children
    tool.className = item.colour ? "class" : "plain"
    dot.style.background = item.colour ?? ""
    words.textContent = item.title
    key.textContent = item.key
    tool.disabled = Boolean(item.off)
    if (item.undo) tool.removeAttribute("aria-pressed")
    else tool.setAttribute("aria-pressed", item.brush === brush)
    tool.onclick = () => {
      if (item.undo) return view.queue.send({ do: "undo" })
      brushes.set(parent, item.brush)
      drawTools(view)
    }
  })
}

function newTile() {
  const tile = node("button", "tile", node("img"), node("span", "name"), node("span", "sign"))
  tile.type = "button"
  tile.tabIndex = -1
  return tile
}

function fill(view, tile, cell) {
  const [image, name, sign] = tile.children
  const cls = view.data.classes.find((cls) => cls.name === (cell.confirmed ?? cell.named))
  const called = cell.state === "removed" ? "Not a cell" : (cls?.title ?? cell.confirmed ?? "No answer")
  if (image.getAttribute("src") !== cell.src) image.src = cell.src
  image.alt = ""
  name.textContent = called
  sign.textContent = { confirmed: "✓", removed: "×" }[cell.state] ?? ""
  tile.dataset.id = cell.id
  tile.className = `tile ${cell.state}`
  tile.style.setProperty("--colour", cls?.colour ?? "var(--st-border-color)")
  tile.title = `${called}${cell.state === "guess" ? "?" : ""} ${cell.title}`
  tile.setAttribute("aria-label", `${called}, ${{ confirmed: "labelled", removed: "taken out" }[cell.state] ?? "not labelled"}`)
}

// What a person does

function listen(view) {
  const { sheet, data } = view
  const cellOf = (tile) => data.cells[[...sheet.children].indexOf(tile)]
  sheet.onclick = (event) => {
    const tile = event.target.closest(".tile")
    if (!tile) return
    focusable(sheet, tile)
    const cell = cellOf(tile)
    const brush = brushes.get(view.parent) ?? AS_CALLED
    const cls = brush === AS_CALLED ? cell.named : brush
    if (brush === NOT_A_CELL) remove(view, tile, cell)
    else if (cell.state === "confirmed" && (brush === AS_CALLED || cell.confirmed === cls)) takeBack(view, tile, cell)
    else label(view, tile, cell, cls)
  }
  sheet.onkeydown = (event) => {
    const tile = event.target.closest(".tile")
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return
    const cell = cellOf(tile)
    const cls = keyOf(event) === "c" ? cell.named : classOfKey(event.key, data.classes)?.name
    const next = neighbour(sheet, tile, event.key)
    if (cls) {
      label(view, tile, cell, cls)
      go(sheet, tile.nextSibling)
    } else if (["Delete", "Backspace"].includes(event.key)) {
      remove(view, tile, cell)
      go(sheet, tile.nextSibling)
    } else if (keyOf(event) === "u") view.data.can_undo && view.queue.send({ do: "undo" })
    else if (next) go(sheet, next)
    else return
    event.preventDefault()
  }
}

function go(sheet, tile) {
  if (!tile) return
  focusable(sheet, tile)
  tile.focus()
}

function label(view, tile, cell, cls) {
  if (!cls || (cell.state === "confirmed" && cell.confirmed === cls)) return
  view.queue.send({ do: "label", cell: cell.id, label: cls, box: cell.box })
  fill(view, tile, cell)
}

// A second click takes back what the first one said.
function takeBack(view, tile, cell) {
  view.queue.send({ do: "unlabel", cell: cell.id })
  fill(view, tile, cell)
}

function remove(view, tile, cell) {
  view.queue.send({ do: cell.state === "removed" ? "restore" : "remove", cell: cell.id })
  fill(view, tile, cell)
}
