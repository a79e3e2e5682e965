// What Streamlit opens below a button lies at the end of the page, and Tab would reach it after all the rest: from the
// button it leads there at once. What has nothing to press gets the focus itself, so that it can be scrolled.
function intoPopover(event) {
  const opened = event.target.closest?.("[data-testid=stPopoverButton][aria-expanded=true]")
  const popover = opened && document.querySelector("[data-testid=stPopoverBody]")
  if (!popover || event.key !== "Tab" || event.shiftKey) return
  event.preventDefault()
  popover.tabIndex = -1
  const first = popover.querySelector(":is(a, button, input, textarea, summary):not([disabled], [tabindex='-1'])")
  ;(first ?? popover).focus()
}

