// The theme's arrows that open a chapter's pages in the sidebar have no name for a screen reader.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll(".bd-sidebar-primary li > details > summary").forEach(summary => {
    const link = summary.closest("li").querySelector(":scope > a");
    if (link) summary.setAttribute("aria-label", "Pages of " + link.textContent.trim());
  });
});

// A table that is wider than the page scrolls in its own box: the keyboard must be able to reach that box.
const reachable = () => document.querySelectorAll(".bd-article table.table, .bd-article table.docutils").forEach(table => {
  if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
  else table.removeAttribute("tabindex");
});
addEventListener("load", reachable);
addEventListener("resize", reachable);

// A page opened as a file may not read the other pages: the search then lists its results without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
