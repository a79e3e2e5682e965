// The desk at which one picture after another is judged. The browser holds the next pictures already and shows the
// next one at once; each verdict waits in an outbox until the server has said that it is kept. What is in the outbox is
// sent again after a lost connection or a refresh, and the server knows by its token what it has kept already.
const STORED = "lab-review-outbox"
const KEYS = "lab-review-keys" // "off" where somebody turned them off
const TOO_SOON = 250 // ms in which nobody can have looked at a picture: a double click, a key that bounces
const SEND_AGAIN = 4000 // ms without an answer
const ASK_AGAIN = 1500 // ms between two looks for what is still being worked out
const ZOOMS = [1, 2, 4]
const CLICK = 4 // pixels: what is dragged further looks at another part, and is no click
const desks = new WeakMap()

export default function ({ data, parentElement, setStateValue }) {
  const desk = desks.get(parentElement) ?? open(parentElement)
  desks.set(parentElement, desk)
  desk.data = data
  desk.send = () => {
    store(desk.outbox)
    setStateValue("outbox", { turn: (desk.turn += 1), events: waiting(desk).map((event) => ({ ...event })) })
  }
  const kept = new Set(data.kept)
  desk.outbox = desk.outbox.filter((event) => !kept.has(event.token))
  store(desk.outbox)
  show(desk)
  clearTimeout(desk.again)
  if (waiting(desk).length) desk.again = setTimeout(desk.send, desk.resume ? 0 : SEND_AGAIN)
  else if (data.waiting) desk.again = setTimeout(() => push(desk, { kind: "look", id: desk.shown?.id ?? "" }), ASK_AGAIN)
  desk.resume = false
  // Before Streamlit's own keys, and before a button that has the focus.
  document.addEventListener("keydown", desk.onkey, true)
  const call = (desk.calls += 1)
  return () => {
    // On a slow machine Streamlit ends an earlier call after a later one: only the last one's end is the desk's.
    if (desk.calls !== call) return
    clearTimeout(desk.again)
    document.removeEventListener("keydown", desk.onkey, true)
  }
}

function open(root) {
  const find = (name) => root.querySelector(name)
  const desk = { root, find, outbox: stored(), turn: 0, shown: null, since: 0, zoom: 0, calls: 0, resume: true }
  desk.onkey = (event) => keyed(desk, event)
  find(".desk").onclick = (event) => {
    const button = event.target.closest("button")
    if (button && event.detail < 2) act(desk, button.dataset)
  }
  const keys = find(".keys input")
  keys.checked = keysWork()
  keys.onchange = () => keysWork(keys.checked)
  find(".note input").onkeydown = (event) => {
    if (event.key === "Enter" || event.key === "Escape") find(".desk").focus()
  }
  for (const glass of root.querySelectorAll(".glass")) {
    let pressed = {} // a screen reader clicks without
    glass.onpointerdown = (event) => (pressed = event)
    glass.onclick = (event) => {
      const dragged = Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) > CLICK
      if (!dragged) zoom(desk, desk.zoom ? 0 : 1, glass, event)
    }
    glass.onpointermove = (event) => point(glass, event)
    glass.onwheel = (event) => {
      event.preventDefault()
      zoom(desk, desk.zoom + (event.deltaY < 0 ? 1 : -1), glass, event)
    }
  }
  return desk
}

// ---- What is done --------------------------------------------------------------------------------------

function keyed(desk, event) {
  const [target] = event.composedPath()
  const typing = target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName)
  const inside = desk.root.contains?.(target) || desk.root.host?.contains(target)
  const elsewhere = !inside && target !== document.body && target.closest?.("[role], a, button, summary")
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
  const undoing = (event.ctrlKey || event.metaKey) && key === "z"
  if ((typing && target.type !== "checkbox") || document.querySelector("[role=dialog], [role=menu]")) return
  if (!desk.find(".keys input").checked) return
  if (!undoing && (event.ctrlKey || event.metaKey || event.altKey)) return
  if (elsewhere && !/^[a-z0-9]$/.test(key)) return // arrows belong to what has the focus
  const wanted = undoing ? "Backspace" : key
  const button = [...desk.root.querySelectorAll("button[data-key]")].find((each) => each.dataset.key === wanted)
  if (wanted === "z") zoom(desk, (desk.zoom + 1) % ZOOMS.length)
  else if (wanted === "n") desk.find(".note input").focus()
  else if (!button) return
  event.preventDefault()
  event.stopImmediatePropagation()
  if (event.repeat || !button || button.disabled) return
  if (wanted === "u" && event.shiftKey) desk.find(".alone input").checked = true
  button.classList.add("flash")
  setTimeout(() => button.classList.remove("flash"), 150)
  act(desk, button.dataset)
}

function act(desk, { verdict, label, kind }) {
  const card = desk.shown
  if (kind === "undo") return undo(desk)
  if (kind) return push(desk, { kind, id: card?.id ?? "" })
  if (!card || performance.now() - desk.since < TOO_SOON) return
  const note = desk.find(".note input")
  const alone = desk.find(".alone input")
  push(desk, {
    kind: "verdict", id: card.id, verdict, label: label ?? null, note: note.value,
    alone: verdict === "unusable" && alone.checked,
  })
  note.value = ""
  alone.checked = false
}

// Names what is to be undone, so that a request that is sent twice doesn't undo two verdicts.
function undo(desk) {
  const of = lastVerdict(desk)
  if (of) push(desk, { kind: "undo", id: "", of })
}

// The token of the newest verdict that isn't taken back, undefined where there is none.
function lastVerdict(desk) {
  const sent = waiting(desk).filter((event) => event.kind === "verdict").map((event) => event.token)
  const taken = waiting(desk).map((event) => event.of)
  return [...sent.reverse(), ...desk.data.undoable].find((token) => !taken.includes(token))
}

function push(desk, event) {
  const token = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`
  desk.outbox.push({ token, data_hash: desk.data.data_hash, ...event })
  clearTimeout(desk.again)
  desk.again = setTimeout(desk.send, SEND_AGAIN)
  show(desk)
  desk.send()
}

// What the server has yet to hear of this dataset. What is of another one, as after a reload with another run, waits for
// that to be shown again: here it would be refused, or kept on the same picture of the wrong dataset.
function waiting(desk) {
  return desk.outbox.filter((event) => event.data_hash === desk.data.data_hash)
}

function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED)) ?? []
  } catch {
    return []
  }
}

function store(outbox) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify(outbox.filter((event) => event.kind === "verdict")))
  } catch {
    // no storage here: a refresh before the server's answer can then lose a verdict, as the page shows
  }
}

// Whether single keys do something, after it was `told` if it is: who dictates says letters that nobody pressed.
function keysWork(told) {
  try {
    if (told !== undefined) localStorage.setItem(KEYS, told ? "on" : "off")
    return localStorage.getItem(KEYS) !== "off"
  } catch {
    return true // this browser keeps nothing: what is ticked holds until the page is left
  }
}

// ---- What is shown -------------------------------------------------------------------------------------

function show(desk) {
  const { data, find } = desk
  const judged = new Set(waiting(desk).filter((event) => event.kind === "verdict").map((event) => event.id))
  const place = data.cards.findIndex((card) => !judged.has(card.id))
  const card = data.cards[place] ?? null
  if (card?.id !== desk.shown?.id) {
    desk.since = performance.now()
    zoom(desk, 0)
    if (desk.shown) find(".note input").value = data.notes[card?.id] ?? ""
  }
  desk.shown = card
  const waits = waiting(desk).some((event) => event.kind !== "look")
  find(".progress strong").textContent = card ? `${card.place.toLocaleString("en")} of ${data.total.toLocaleString("en")}` : "…"
  find(".progress small").textContent = `${data.decided.toLocaleString("en")} reviewed`
  find(".meter").setAttribute("aria-valuenow", data.decided)
  find(".meter").setAttribute("aria-valuemax", data.total)
  find(".meter i").style.width = `${(100 * data.decided) / Math.max(data.total, 1)}%`
  find(".state").textContent = waits ? "Saving …" : data.last
  find(".error").textContent = data.failures.join(" ")
  verdictButtons(desk, card)
  if (card) picture(desk, card)
}

function picture(desk, card) {
  const { find, data } = desk
  image(find(".cell .near"), card.cell, `${card.words}, cell view`)
  image(find(".whole .near"), card.whole, `${card.words}, whole picture`)
  const over = card.heat_on === "cell" ? ".cell" : ".whole"
  for (const side of [".cell", ".whole"]) {
    image(find(`${side} .heat`), data.heat && side === over ? card.heat : null, `Heat map: ${card.heat_words}`)
  }
  const drawn = card.heat_words || (data.heat ? "Drawing the heat map …" : "")
  find(".cell figcaption").textContent = (over === ".cell" && drawn) || card.cell_words
  find(".whole figcaption").textContent = (over === ".whole" && drawn) || "Whole picture"
  find(".says .true").textContent = card.label
  find(".says .predicted").textContent = card.answer
  find(".says .bars").replaceChildren(...card.bars.map(bar))
  find(".says").classList.toggle("many", card.bars.length > 6)
  find(".says .quiet").textContent = card.says_words
  find(".like .tiles").replaceChildren(...card.like.map(tile))
  find(".like .quiet").textContent = card.like_words
  find(".family").textContent = card.family
  find(".said").textContent = card.said
}

function verdictButtons(desk, card) {
  const { root, find, data } = desk
  const classes = find(".classes")
  const made = JSON.stringify(data.classes)
  if (classes.dataset.made !== made) {
    classes.replaceChildren(
      ...data.classes.map(({ name, title, colour, key }) => {
        const button = node("button", node("span", title), key && node("kbd", key.toUpperCase()))
        Object.assign(button.dataset, { verdict: "label-wrong", label: name, ...(key && { key }) })
        button.type = "button"
        button.className = "class"
        button.style.setProperty("--colour", colour)
        return button
      }),
    )
    classes.dataset.made = made
  }
  for (const button of root.querySelectorAll(".verdicts button")) {
    const own = button.dataset.label !== undefined && button.dataset.label === card?.own
    button.disabled = !card || own
    button.title = own ? "This is its label" : ""
    const same = card?.verdict === button.dataset.verdict && (card?.to ?? undefined) === button.dataset.label
    button.setAttribute("aria-pressed", Boolean(card && same))
  }
  find(".alone").hidden = !card?.copies
  find("[data-kind=undo]").disabled = !lastVerdict(desk)
  find("[data-kind=heat]").setAttribute("aria-pressed", data.heat)
}

function image(node, src, alt) {
  if (!src) node.removeAttribute("src")
  else if (node.getAttribute("src") !== src) node.src = src
  node.alt = src ? alt : ""
}

function bar({ title, colour, share, words, answer, own }) {
  const fill = node("i")
  fill.style.cssText = `width:${100 * share}%`
  fill.style.background = colour
  const rail = node("span", fill)
  rail.className = "rail"
  const figure = node("span", words)
  figure.className = "share"
  const row = node("div", node("b", title), rail, figure)
  row.className = `bar${answer ? " answer" : ""}${own ? " true" : ""}`
  row.setAttribute("role", "listitem")
  row.title = title
  return row
}

function tile({ src, label, photo, colour }) {
  const picture = node("img")
  picture.src = src
  picture.alt = `${label}, photo ${photo}`
  picture.style.borderColor = colour
  const box = node("div", picture, node("span", label), node("span", photo))
  box.title = picture.alt
  return box
}

function zoom(desk, step, glass, event) {
  desk.zoom = Math.min(Math.max(step, 0), ZOOMS.length - 1)
  for (const each of desk.root.querySelectorAll(".glass")) {
    each.style.setProperty("--zoom", ZOOMS[desk.zoom])
    each.classList.toggle("zoomed", desk.zoom > 0)
    if (each !== glass) each.style.cssText += "; --x: 50%; --y: 50%"
  }
  if (glass) point(glass, event)
}

function point(glass, event) {
  const box = glass.getBoundingClientRect()
  glass.style.setProperty("--x", `${(100 * (event.clientX - box.left)) / box.width}%`)
  glass.style.setProperty("--y", `${(100 * (event.clientY - box.top)) / box.height}%`)
}

function node(name, ...inside) {
  const made = document.createElement(name)
  made.append(...inside.filter(Boolean))
  return made
}
