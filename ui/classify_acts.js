// What the pictures of cells share: what a person does is sent until the server says that it has it. Two acts in quick
// succession would otherwise be one: a newer message takes the place of one that no run has read yet. Until then it is
// done here, to what the server said last: the next act is meant for what came of it.
const TELL_AGAIN = 10_000 // ms without a word that it has been heard: the connection may have been away
const queues = new WeakMap()

function queueOf(parent, data, setTriggerValue) {
  if (!queues.has(parent)) {
    queues.set(parent, { nonce: Math.random().toString(36).slice(2), last: 0, waiting: [], calls: 0 })
  }
  const queue = queues.get(parent)
  if (data.acked?.nonce === queue.nonce) {
    queue.waiting = queue.waiting.filter((act) => act.seq > data.acked.seq)
  }
  for (const act of queue.waiting) if (act.picture === data.picture) apply(data, act)
  const tellLater = () => {
    clearTimeout(queue.again)
    if (queue.waiting.length) queue.again = setTimeout(tell, TELL_AGAIN)
  }
  const tell = () => {
    setTriggerValue("acts", { nonce: queue.nonce, acts: queue.waiting })
    tellLater()
  }
  tellLater()
  queue.send = (act) => {
    apply(data, act)
    // With its field: it may be heard only once another one is shown.
    queue.waiting.push({ ...act, picture: data.picture, seq: ++queue.last })
    tell()
  }
  const call = (queue.calls += 1)
  queue.end = () => {
    // On a slow machine Streamlit ends an earlier call after a later one: only the last one's end is the queue's.
    if (queue.calls === call) clearTimeout(queue.again)
  }
  return queue
}

function apply(data, act) {
  if (!["select", "undo"].includes(act.do)) data.can_undo = true
  const cell = (data.cells ?? data.rows).find((cell) => cell.id === act.cell)
  if (!cell) return
  if (act.do === "label") Object.assign(cell, { state: "confirmed", confirmed: act.label })
  else if (act.do === "unlabel") Object.assign(cell, { state: "guess", confirmed: null })
  else if (act.do === "remove") cell.state = "removed"
  else if (act.do === "restore") cell.state = cell.confirmed ? "confirmed" : "guess"
  else if (act.do === "move") cell.box = act.box
}

// What was pressed, whether or not Caps Lock is on: keys are shown as capitals.
function keyOf(event) {
  return event.key.length === 1 ? event.key.toLowerCase() : event.key
}

// A class's key: 1 to 9 in the order of the classes.
function classOfKey(key, classes) {
  return /^[1-9]$/.test(key) ? classes[Number(key) - 1] : undefined
}

function node(name, className, ...children) {
  const made = document.createElement(name)
  if (className) made.className = className
  made.append(...children)
  return made
}

// As many children as there are items, nodes kept from run to run so that the focus stays where it is.
function keep(parent, items, make) {
  while (parent.children.length > items.length) parent.lastChild.remove()
  while (parent.children.length < items.length) parent.append(make())
  return [...parent.children]
}

// A button of a toolbar: the class's dot, words, key.
function newTool() {
  const tool = node("button", "", node("i"), node("span"), node("kbd"))
  tool.type = "button"
  tool.tabIndex = 0 // said, because Safari gives no other button the focus at a click, and the keys would end there
  return tool
}
