// What a page puts into its address by itself as it opens is no step of the browser's own, to which Back would lead.
// Streamlit changes the query before the path, or after it: in the first case the new path takes the place of the old
// page with the new query, in the second the query that of the new page without one.
// Nor is what a page adds by itself to a choice, as the first picture of a queue: it belongs to that choice's step.
// Of quick steps of Back each would be written over by a page that was passed, which the server is still drawing.
export default function () {
  if (window.labHistory) return
  window.labHistory = true
  let opening = true // nobody has done anything since the page was opened
  let early = null // the query that was written last, if nobody has done anything since
  let stepping = false // Back or Forward was the last that was done
  let here = true // the page that the server came to last is the one in the address
  const opened = (state) => ([opening, early] = [state, null])
  function done(event) {
    if (event.altKey || event.metaKey || event.button > 2) return // Back or Forward by key or by the mouse
    stepping = false
    opened(false)
  }
  for (const kind of ["pointerdown", "click", "keydown", "input", "change", "drop"]) {
    window.addEventListener(kind, done, true)
  }
  window.addEventListener("popstate", () => ((stepping = true), (here = false), opened(true)), true)
  window.addEventListener("pointerdown", pageLink, true) // before the browser's own menu and the middle button
  window.addEventListener("click", ontoThisPage, true)
  window.addEventListener("keydown", intoPopover, true)
  const push = history.pushState.bind(history)
  const replace = history.replaceState.bind(history)
  // A second choice, of which a slow server has heard before it answered the first, is a step of its own.
  const BY_ITSELF = ["dataset", "run", "runs", "picture"]
  const adds = (search) => {
    const [then, now] = [new URLSearchParams(early ?? ""), new URLSearchParams(search)]
    const kept = [...then].every(([name, value]) => now.getAll(name).includes(value))
    return early !== null && kept && [...now.keys()].every((name) => then.has(name) || BY_ITSELF.includes(name))
  }
  // A link to another address of the page itself is followed as Forward is: all else that is done on a page leaves the
  // server with the newest address that it has set (ui/streamlit_patches.py). With a key that asks for a tab, a window or a
  // file the browser follows it, of which Streamlit would make a click.
  function ontoThisPage(event) {
    const link = pageLink(event)
    if (!link) return
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return event.stopPropagation()
    const to = new URL(link.href)
    if (to.pathname !== location.pathname || to.search === location.search) return
    event.preventDefault()
    event.stopPropagation()
    push({}, "", to.href)
    dispatchEvent(new PopStateEvent("popstate"))
  }
  // The link to Home has no path of its own: the browser would take it for one to the page that is open.
  function pageLink(event) {
    const link = event.target.closest?.("a[data-testid='stPageLink-NavLink']")
    const to = link?.getAttribute("href")
    if (to === "" || to?.startsWith("?")) link.setAttribute("href", `./${to}`)
    return link
  }
  // Streamlit tells its window of each page that the server has come to, right after it has changed the path where that is
  // another one's.
  const post = window.postMessage.bind(window)
  let moved = false
  window.postMessage = (message, ...more) => {
    if (message?.type === "SET_CURRENT_PAGE_NAME") [here, moved] = [!moved, false]
    post(message, ...more)
  }
  history.pushState = (state, title, url) => write(state, title, url, push)
  history.replaceState = (state, title, url) => write(state, title, url, replace)
  function write(state, title, url, change) {
    const { pathname, search } = new URL(url, location.href)
    const moves = pathname !== location.pathname
    moved = moves && stepping
    if (stepping && (moves || !here)) return
    if (moves ? search === early : opening || adds(search)) replace(state, title, url)
    else change(state, title, url)
    if (moves) opened(true)
    else early = search
    if (moves) uncover()
  }
  // On a phone the sidebar lies over the page. Streamlit closes it behind a link of its own list, but not of ours.
  function uncover() {
    const close = "[data-testid=stSidebar][data-collapsed=false] [data-testid=stSidebarCollapseButton] button"
    if (innerWidth <= 768) document.querySelector(close)?.click()
  }
}
