// A confusion matrix as a table of buttons. The table is built anew only when its classes change, so that
// the keyboard focus stays where it is while numbers and shades change.
export default function ({ data, parentElement, setTriggerValue }) {
  const table = parentElement.querySelector("table")
  const classes = JSON.stringify(data.classes)
  if (table.dataset.classes !== classes) build(table, data.classes)
  table.dataset.classes = classes
  table.className = data.classes.length > 5 ? "many" : ""
  table.style.setProperty("--classes", data.classes.length)
  table.caption.textContent = data.title
  const heads = [...table.querySelectorAll("tbody th small")]
  heads.forEach((head, row) => (head.textContent = data.totals[row]))
  const buttons = [...table.querySelectorAll("button")]
  buttons.forEach((button, place) => fill(button, data.cells[place], place === data.selected))
  parentElement.querySelectorAll(".key span").forEach((word, i) => (word.textContent = data.key[i]))

  const open = (button) => {
    buttons.forEach((other) => (other.tabIndex = other === button ? 0 : -1))
    return button
  }
  open(buttons.find((button) => button.tabIndex === 0) ?? buttons[0])
  table.onclick = (event) => {
    const button = event.target.closest("button")
    if (button) setTriggerValue("opened", buttons.indexOf(open(button)))
  }
  table.onkeydown = (event) => {
    const next = neighbour(buttons.indexOf(parentElement.activeElement), event.key, data.classes.length)
    if (next === null) return
    event.preventDefault()
    open(buttons[next]).focus()
  }
}

function build(table, classes) {
  const corner = node("td", node("span", "predicted →"), node("span", "true ↓"))
  corner.className = "corner"
  const heads = classes.map((name) => node("th", node("span", name)))
  heads.forEach((head, column) => {
    head.scope = "col"
    head.title = classes[column]
  })
  table.tHead.replaceChildren(node("tr", corner, ...heads))
  table.tBodies[0].replaceChildren(
    ...classes.map((name) => {
      const head = node("th", name, node("small"))
      head.scope = "row"
      return node("tr", head, ...classes.map(() => node("td", newCell())))
    }),
  )
}

function newCell() {
  const button = node("button", node("span"), " ", node("small"))
  button.type = "button"
  button.tabIndex = -1
  return button
}

function fill(button, cell, selected) {
  button.children[0].textContent = cell.big
  button.children[1].textContent = cell.small
  button.className = cell.kind
  button.style.setProperty("--shade", cell.shade)
  button.title = cell.title
  button.setAttribute("aria-label", cell.title)
  button.setAttribute("aria-pressed", selected)
}

function node(name, ...children) {
  const made = document.createElement(name)
  made.append(...children)
  return made
}

function neighbour(place, key, size) {
  const row = Math.floor(place / size)
  const column = place % size
  const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }
  if (place < 0 || !(key in moves)) return null
  const [down, right] = moves[key]
  const inside = (at) => at >= 0 && at < size
  return inside(row + down) && inside(column + right) ? (row + down) * size + column + right : null
}
