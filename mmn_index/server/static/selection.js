// The moments that were selected, and their way out: the bar at the lower edge with the formats.
import * as api from "./api.js";
import { ofTube } from "./boxes.js";
import { $, announce, h } from "./dom.js";
import { many } from "./wording.js";

const FORMATS = [
  ["csv", "Table (CSV)"],
  ["json", "JSON"],
  ["srt", "Subtitles (SRT)"],
  ["edl", "Edit list (EDL)"],
  ["otio", "OpenTimelineIO"],
  ["fcpxml", "Final Cut (FCPXML)"],
  ["clips", "Clips (ZIP)"],
];

const selected = new Map(); // key -> hit
let changed = () => {};

export const isSelected = (hit) => selected.has(hit.key);
export const whenSelectionChanges = (action) => (changed = action);

export function toggle(hit, value) {
  if (value) selected.set(hit.key, hit);
  else selected.delete(hit.key);
  showTray();
}

export function clearSelection() {
  selected.clear();
  showTray();
  changed();
  $("results").focus({ preventScroll: true }); // the button that was pressed is gone
}

/** What of an export is about one moment. */
const momentsOf = (hit) =>
  hit.parts.map(({ start, end, tube }, number) => ({
    video: hit.video,
    start,
    end,
    text: hit.texts[number],
    rank: hit.rank,
    score: hit.score,
    confidence: hit.confidence,
    exact: hit.exact,
    recall: hit.recall,
    ...ofTube(tube),
  }));

function showTray() {
  const tray = $("tray");
  document.body.classList.toggle("has-tray", selected.size > 0);
  tray.hidden = selected.size === 0;
  if (tray.hidden) {
    tray.replaceChildren();
    return;
  }
  if (!tray.firstChild) tray.append(...parts());
  tray.querySelector(".tray-count").textContent = `${many(selected.size, "moment")} selected`;
  announce(`${many(selected.size, "moment")} selected`);
}

function parts() {
  const format = h("select", { id: "format" }, ...FORMATS.map(([value, name]) => h("option", { value, textContent: name })));
  const padding = h("input", { id: "padding", type: "number", min: 0, max: 60, step: 0.5, value: 0 });
  const padded = h("label", { class: "padding", hidden: true }, "Extra seconds ", padding);
  const said = h("p", { class: "tray-said", role: "alert" });
  const save = h("button", { type: "submit", class: "button primary", textContent: "Export" });
  format.addEventListener("change", () => (padded.hidden = format.value !== "clips"));
  const form = h("form", { class: "tray-form" }, h("label", { for: "format", textContent: "as" }), format, padded, save);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    said.textContent = "";
    save.disabled = true;
    save.textContent = format.value === "clips" ? "Cutting …" : "Exporting …";
    try {
      const out = await handOn(format.value, Number(padding.value) || 0);
      if (out) said.textContent = `${many(out, "moment")} of deleted or damaged videos ${out === 1 ? "is" : "are"} not in the file.`;
    } catch (error) {
      said.textContent = error.message;
    }
    save.disabled = false;
    save.textContent = "Export";
  });
  return [
    h("span", { class: "tray-count" }),
    h("button", { type: "button", class: "text-button", textContent: "Clear", onclick: clearSelection }),
    form,
    said,
  ];
}

async function handOn(format, padding) {
  // Moments of several indexes cannot be in one file: each index is asked for its own.
  let out = 0;
  const byIndex = Map.groupBy(selected.values(), (hit) => hit.index);
  for (const [index, hits] of byIndex) {
    const names = new Set(hits.map((hit) => hit.scoreName));
    const request = { index, format, moments: hits.flatMap(momentsOf), score_name: names.size === 1 ? [...names][0] : null };
    if (format === "clips" && padding > 0) request.padding = padding;
    const answer = await api.exported(request);
    out += Number(answer.headers.get("X-Left-Out") ?? 0);
    save(await answer.blob(), nameIn(answer.headers.get("Content-Disposition")) ?? `moments.${format === "clips" ? "zip" : format}`);
  }
  announce("Exported");
  return out;
}

function nameIn(header) {
  const coded = /filename\*=utf-8''([^;]+)/i.exec(header ?? "");
  const plain = /filename="?([^";]+)"?/i.exec(header ?? "");
  return coded ? decodeURIComponent(coded[1]) : (plain?.[1] ?? null);
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
