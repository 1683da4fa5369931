// Material lets wide tables scroll in a box. A box that scrolls gets a name and a place in the order of the tab key,
// so that the arrow keys reach what lies outside; one that fits gets neither.
const boxes = () => [...document.querySelectorAll(".md-typeset__scrollwrap")]

function heading(box) {
  const headings = [...document.querySelectorAll(".md-content h1, .md-content h2, .md-content h3")]
  const before = headings.filter(h => h.compareDocumentPosition(box) & Node.DOCUMENT_POSITION_FOLLOWING)
  return (before.at(-1)?.firstChild?.textContent ?? document.title).trim()
}

function reach(box, number) {
  if (box.scrollWidth > box.clientWidth) {
    box.setAttribute("tabindex", "0")
    box.setAttribute("role", "region")
    box.setAttribute("aria-label", `Table ${number}, ${heading(box)}; it scrolls sideways`)
  } else {
    for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name)
  }
}

const all = () => boxes().forEach((box, i) => reach(box, i + 1))
const content = document.querySelector(".md-content")
if (content) new ResizeObserver(all).observe(content)
addEventListener("load", all)

// Material's search box is a dialog without a name.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search")
