// Moving over the cards with keys: one of them is in the tab order, arrows move it.
import { mark, openOf, select, turn } from "./cards.js";

let list;
let last = null; // where a range of selected cards begins

const cards = () => [...list.querySelectorAll(".card")];
const controls = (card) => card.querySelectorAll(".open, .pick input, .like, .play");

/** Which card Tab reaches. */
export function setActive(card) {
  for (const other of list.querySelectorAll(".card.active")) {
    other.classList.remove("active");
    for (const control of controls(other)) control.tabIndex = -1;
  }
  card.classList.add("active");
  for (const control of controls(card)) control.tabIndex = 0;
}

/** Called after cards have come or gone. */
export function refresh() {
  if (!list.querySelector(".card.active")) {
    const first = list.querySelector(".card");
    if (first) setActive(first);
  }
}

export function focusCard(card = list.querySelector(".card.active") ?? list.querySelector(".card")) {
  if (!card) return false;
  setActive(card);
  openOf(card).focus();
  card.scrollIntoView({ block: "nearest" });
  return true;
}

/** Select a card; with Shift all from the one before to this one. */
export function pick(card, value, range) {
  const all = cards();
  const from = range && last?.isConnected ? all.indexOf(last) : -1;
  if (from >= 0) {
    const to = all.indexOf(card);
    for (const one of all.slice(Math.min(from, to), Math.max(from, to) + 1)) select(one, value);
  } else select(card, value);
  last = card;
}

export const markAll = () => cards().forEach(mark);
export const selectAll = (value) => cards().forEach((card) => select(card, value));

/** The card above or below: in the nearest row, the one whose middle is nearest. */
function beyond(card, down) {
  const here = card.getBoundingClientRect();
  const middle = here.left + here.width / 2;
  let best = null;
  let least = Infinity;
  for (const other of cards()) {
    const box = other.getBoundingClientRect();
    const rows = down ? box.top - here.top : here.top - box.top;
    if (rows < here.height / 2) continue;
    const far = rows * 10 + Math.abs(box.left + box.width / 2 - middle);
    if (far < least) [best, least] = [other, far];
  }
  return best;
}

function next(card, key) {
  const all = cards();
  const here = all.indexOf(card);
  switch (key) {
    case "ArrowRight":
      return all[here + 1];
    case "ArrowLeft":
      return all[here - 1];
    case "ArrowDown":
      return beyond(card, true);
    case "ArrowUp":
      return beyond(card, false);
    case "Home":
      return all[0];
    case "End":
      return all.at(-1);
  }
  return undefined;
}

export function startGrid(element, actions) {
  list = element;
  list.addEventListener("focusin", (event) => {
    const card = event.target.closest(".card");
    if (card) setActive(card);
  });
  list.addEventListener("keydown", (event) => {
    const card = event.target.closest(".card");
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const on = event.target.className;
    if (["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) {
      const other = next(card, event.key);
      if (other) {
        if (event.shiftKey) pick(other, true, true);
        focusCard(other);
      }
    } else if (event.key === " " && on === "open") turn(card);
    else if (event.key.toLowerCase() === "x") pick(card, !card.classList.contains("selected"), event.shiftKey);
    else if (event.key === "l") actions.like(card);
    else return;
    event.preventDefault();
  });
  // A button answers to Space when the key is let go.
  list.addEventListener("keyup", (event) => {
    if (event.key === " " && event.target.className === "open") event.preventDefault();
  });
}
