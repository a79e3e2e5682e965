// A page that puts something into its address as it opens does so before Streamlit has changed the path: that is a step
// of the browser's own, the old page with the new page's address, to which Back would lead. The new path takes its place.
export default function () {
  if (window.labHistory) return
  window.labHistory = true
  let early = null // the query that was written last, if by no click since
  const forget = () => (early = null)
  for (const kind of ["pointerdown", "keydown", "popstate"]) window.addEventListener(kind, forget, true)
  const push = history.pushState.bind(history)
  history.pushState = (state, title, url) => {
    const { pathname, search } = new URL(url, location.href)
    const moves = pathname !== location.pathname
    if (moves && search === early) history.replaceState(state, title, url)
    else push(state, title, url)
    early = moves ? null : search
  }
}
