// Recent searches below the search box: a list box that keys move in while the box keeps the focus.
import { $, h } from "./dom.js";
import { recall, remember } from "./storage.js";

const KEY = "mmn-recent";
const MOST = 8;

function read() {
  try {
    const found = JSON.parse(recall(KEY, "[]"));
    return Array.isArray(found) ? found.filter((one) => typeof one === "string").slice(0, MOST) : [];
  } catch {
    return [];
  }
}

export function addRecent(query) {
  const text = query.trim();
  if (text) remember(KEY, JSON.stringify([text, ...read().filter((one) => one !== text)].slice(0, MOST)));
}

/** onPick(text): one was chosen. */
export function startRecent(input, onPick) {
  const panel = $("recent-panel");
  const list = $("recent");
  let chosen = -1;

  const options = () => [...list.children];
  const close = () => {
    panel.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    chosen = -1;
  };
  const choose = (number) => {
    chosen = number;
    options().forEach((option, n) => option.setAttribute("aria-selected", String(n === chosen)));
    if (chosen < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `recent-${chosen}`);
  };
  const open = () => {
    const text = input.value.trim().toLowerCase();
    const fitting = read().filter((one) => one.toLowerCase().includes(text) && one !== input.value.trim());
    list.replaceChildren(
      ...fitting.map((one, n) =>
        h("li", { role: "option", id: `recent-${n}`, "aria-selected": "false", textContent: one, onmousedown: (event) => event.preventDefault(), onclick: () => pick(one) }),
      ),
    );
    panel.hidden = fitting.length === 0;
    input.setAttribute("aria-expanded", String(!panel.hidden));
    choose(-1);
  };
  const pick = (text) => {
    close();
    onPick(text);
  };

  input.addEventListener("focus", () => input.value || open());
  input.addEventListener("click", open);
  input.addEventListener("input", open);
  input.addEventListener("blur", close);
  $("recent-clear").addEventListener("mousedown", (event) => event.preventDefault());
  $("recent-clear").addEventListener("click", () => {
    remember(KEY, "[]");
    close();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (panel.hidden) open();
      // Round in a circle, in which -1 is the box itself.
      const steps = options().length + 1;
      choose(((chosen + 1 + (event.key === "ArrowDown" ? 1 : -1) + steps) % steps) - 1);
      event.preventDefault();
    } else if (event.key === "Enter" && chosen >= 0) {
      event.preventDefault();
      pick(options()[chosen].textContent);
    } else if (event.key === "Delete" && chosen >= 0) {
      event.preventDefault();
      const gone = options()[chosen].textContent;
      remember(KEY, JSON.stringify(read().filter((one) => one !== gone)));
      open();
    } else if (event.key === "Escape" && !panel.hidden) {
      event.preventDefault(); // else the box would be emptied
      event.stopPropagation();
      close();
    }
  });
  return { close };
}
