// Cells as rows: picture, class, probabilities as bars, note; a click or the arrow keys choose, a digit gives a class.
export default function ({ data, parentElement: parent, setTriggerValue }) {
  const list = parent.querySelector(".rows")
  const queue = queueOf(parent, data, setTriggerValue)
  const rows = keep(list, data.rows, newRow)
  rows.forEach((row, place) => fill(row, data.rows[place], data.rows[place].id === data.selected))
  if (!rows.some((row) => row.tabIndex === 0) && rows.length) rows[0].tabIndex = 0
  const chosen = (event) => event.target.closest(".row")
  list.onclick = (event) => chosen(event) && queue.send({ do: "select", cell: chosen(event).dataset.id })
  list.onkeydown = (event) => {
    const row = chosen(event)
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return
    const cell = data.rows[rows.indexOf(row)]
    const next = { ArrowDown: row.nextSibling, ArrowUp: row.previousSibling }[event.key]
    const cls = classOfKey(event.key, data.classes)?.name ?? (keyOf(event) === "c" ? cell.named : null)
    if (next) focus(rows, next)
    else if (cls && cell.box) queue.send({ do: "label", cell: cell.id, label: cls, box: cell.box })
    else if (keyOf(event) === "u" && data.can_undo) queue.send({ do: "undo", cell: cell.id })
    else if (["Delete", "Backspace"].includes(event.key) && cell.box) {
      queue.send({ do: cell.state === "removed" ? "restore" : "remove", cell: cell.id })
    } else return
    event.preventDefault()
  }
  return queue.end
}

function focus(rows, row) {
  for (const other of rows) other.tabIndex = other === row ? 0 : -1
  row.focus()
}

function newRow() {
  const row = node(
    "button", "row", node("img"),
    node("span", "words", node("b"), node("span", "file", node("bdi"))), node("span", "bars"), node("span", "note"),
  )
  row.type = "button"
  row.tabIndex = -1
  return row
}

function fill(row, cell, selected) {
  const [image, words, bars, note] = row.children
  if (image.getAttribute("src") !== cell.src) image.src = cell.src
  image.alt = ""
  image.style.visibility = cell.src ? "" : "hidden"
  row.dataset.id = cell.id
  row.className = `row ${cell.state}`
  row.style.setProperty("--colour", cell.colour)
  row.setAttribute("aria-pressed", selected)
  words.children[0].textContent = cell.tag
  words.children[1].firstChild.textContent = cell.file
  note.textContent = cell.note
  keep(bars, cell.bars, newBar).forEach((bar, place) => {
    const { title, share, colour, words: figure } = cell.bars[place]
    bar.children[0].textContent = title
    bar.children[1].firstChild.style.cssText = `width:${100 * share}%;background:${colour}`
    bar.children[2].textContent = figure
  })
}

function newBar() {
  return node("span", "bar", node("span", "name"), node("span", "track", node("i")), node("span", "figure"))
}
