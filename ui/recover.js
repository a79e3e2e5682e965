// Streamlit's page is gone, white and for good, where an element comes whose place it has lost ("Bad delta path index"):
// now and then so at a page switch. All that a page shows is told by its address, so it is loaded again; once, since it
// may be wrong again at once.
const LOST = /delta path/i
const PAUSE = 10_000 // ms within which a page isn't loaded a second time

function recover() {
  if (window.labRecovers) return
  window.labRecovers = true
  window.addEventListener("error", ({ message }) => {
    const last = Number(sessionStorage.getItem("lab_recovered"))
    if (!LOST.test(message) || Date.now() - last < PAUSE) return
    sessionStorage.setItem("lab_recovered", String(Date.now()))
    location.reload()
  })
}
