// The reviewer's name stays in this browser: not in the address, which is handed on.
const STORED = "lab-reviewer"

export default function ({ data, parentElement, setStateValue }) {
  const input = parentElement.querySelector("input")
  if (!input.dataset.ready) {
    input.dataset.ready = "yes"
    const kept = read()
    input.value = kept || data.fallback
    if (kept) setStateValue("name", kept)
  }
  parentElement.querySelector("datalist").replaceChildren(...data.known.map((name) => new Option("", name)))
  input.onchange = () => {
    const name = knownAs(input.value.trim().replace(/\s+/g, " "), data.known)
    input.value = name || data.fallback
    write(name)
    setStateValue("name", name)
  }
  input.onkeydown = (event) => {
    if (event.key === "Enter" || event.key === "Escape") input.blur()
  }
}

function knownAs(name, known) {
  if (known.includes(name)) return name
  return known.find((each) => each.toLowerCase() === name.toLowerCase()) ?? name
}

function read() {
  try {
    return localStorage.getItem(STORED)
  } catch {
    return null
  }
}

function write(name) {
  try {
    localStorage.setItem(STORED, name)
  } catch {
    // this browser keeps nothing: the name holds until the page is left
  }
}
