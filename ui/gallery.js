// What is marked is known here: the server's word on it may be older than the last click.
const marks = new WeakMap() // grid → ids

// A grid of picture buttons. Nodes are kept from run to run, so that the keyboard focus stays where it is.
export default function ({ data, parentElement, setTriggerValue, setStateValue }) {
  const grid = parentElement.querySelector(".grid")
  grid.style.setProperty("--tile", `${data.tile_px}px`)
  while (grid.children.length > data.tiles.length) grid.lastChild.remove()
  while (grid.children.length < data.tiles.length) grid.append(newTile())
  if (!marks.has(grid)) marks.set(grid, new Set(data.marked ?? []))
  const marked = marks.get(grid)
  data.tiles.forEach((tile, place) => fill(grid.children[place], tile, tile.id === data.selected || marked.has(tile.id)))

  const current = [...grid.children].find((tile) => tile.tabIndex === 0) ?? grid.firstChild
  if (current) focusable(grid, current)

  grid.onclick = (event) => {
    const tile = event.target.closest("button")
    if (!tile) return
    focusable(grid, tile)
    if (data.marked) mark(grid, tile, event.shiftKey, setStateValue)
    else setTriggerValue("opened", tile.dataset.id)
  }
  grid.onkeydown = (event) => {
    const next = neighbour(grid, parentElement.activeElement, event.key)
    if (!next) return
    event.preventDefault()
    focusable(grid, next)
    next.focus()
  }
}

// A click marks a tile or takes the mark off; with Shift also all from the last one clicked to this one.
function mark(grid, tile, range, setStateValue) {
  const tiles = [...grid.children]
  const on = tile.getAttribute("aria-pressed") !== "true"
  const here = tiles.indexOf(tile)
  const last = range ? Math.max(tiles.findIndex((each) => each.dataset.id === grid.dataset.last), 0) : here
  tiles.slice(Math.min(here, last), Math.max(here, last) + 1).forEach((each) => each.setAttribute("aria-pressed", on))
  grid.dataset.last = tile.dataset.id
  const marked = tiles.filter((each) => each.getAttribute("aria-pressed") === "true").map((each) => each.dataset.id)
  marks.set(grid, new Set(marked))
  setStateValue("marked", marked)
}

function newTile() {
  const button = document.createElement("button")
  button.type = "button"
  button.tabIndex = -1
  const image = document.createElement("img")
  image.decoding = "async"
  image.loading = "lazy" // of 300 some 50 are in the window
  const caption = document.createElement("span")
  caption.className = "caption"
  button.append(image, caption)
  return button
}

function fill(button, tile, pressed) {
  const [image, caption] = button.children
  if (image.src !== tile.src) image.src = tile.src
  image.alt = button.title = tile.title
  caption.textContent = tile.caption
  button.dataset.id = tile.id
  button.style.setProperty("--colour", tile.colour)
  button.setAttribute("aria-pressed", pressed)
}
