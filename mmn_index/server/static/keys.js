// Keys of the whole page, and the list of all of them.
import { $, h } from "./dom.js";

const KEYS = [
  ["Anywhere", [["/", "Search box"], ["?", "This list"], ["Esc", "Close; from the search box to the moments"]]],
  ["On a moment", [["← → ↑ ↓", "Next moment"], ["Home  End", "First, last"], ["Enter", "Open the whole video"], ["Space", "Play or stop"], ["x", "Select; with Shift a range"], ["l", "Moments like this"]]],
  ["In a video", [["Space", "Play or stop"], ["← →", "On the time line: one second"], ["PgUp  PgDn", "On the time line: ten seconds"], ["← → ↑ ↓", "On the map: next cell"], ["Enter", "On the map: play the cell"]]],
];

export function startKeys({ search, cards }) {
  const dialog = $("keys");
  dialog.append(
    h("div", { class: "drawer-head" }, h("h2", { id: "keys-title", textContent: "Keys" }), h("button", { type: "button", class: "icon-button", "aria-label": "Close", textContent: "✕", onclick: () => dialog.close() })),
    h("div", { class: "keys-body" }, ...KEYS.map(([title, keys]) => h("section", {}, h("h3", { textContent: title }), h("dl", {}, ...keys.flatMap(([key, text]) => [h("dt", {}, ...key.split("  ").map((one) => h("kbd", { textContent: one }))), h("dd", { textContent: text })]))))),
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  $("help").addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const writing = event.target.closest("input:not([type=checkbox], [type=range]), textarea, select");
    if (event.key === "Escape" && event.target === search && cards()) event.preventDefault();
    if (writing) return;
    if (event.key === "?" && !dialog.open) dialog.showModal();
    else if (event.key === "/" && !document.querySelector("dialog[open]")) {
      search.focus();
      search.select();
    } else return;
    event.preventDefault();
  });
}
