// What is said in place of an answer: first visit, slow, error, busy, away, nothing found.
import { $, h } from "./dom.js";

let timer = null;

export function hideNotice() {
  clearInterval(timer);
  $("notice").hidden = true;
  $("notice").replaceChildren();
}

/** `actions`: [name, what it does]; the first is the one that most will want. `sign` is decoration. */
export function showNotice({ kind, sign, title, text, actions = [], alert = false }) {
  clearInterval(timer);
  const notice = $("notice");
  notice.className = `notice ${kind}`;
  notice.replaceChildren(
    h("span", { class: "sign", "aria-hidden": "true", textContent: sign }),
    h(
      "div",
      { class: "notice-text", role: alert ? "alert" : "status" },
      h("h2", { textContent: title }),
      h("p", { textContent: text }),
    ),
    h(
      "div",
      { class: "notice-actions" },
      ...actions.map(([textContent, onclick], number) =>
        h("button", { type: "button", class: number ? "button" : "button primary", textContent, onclick }),
      ),
    ),
  );
  notice.hidden = false;
}

/** A notice whose text counts down to `action`. */
export function showWaiting(notice, seconds, action) {
  const text = (left) => `${notice.text} Trying again in ${left} s.`;
  let left = Math.max(1, seconds);
  showNotice({ ...notice, text: text(left) });
  const shown = $("notice").querySelector("p");
  // Heard once, not every second.
  shown.setAttribute("aria-live", "off");
  timer = setInterval(() => {
    left -= 1;
    if (left > 0) shown.textContent = text(left);
    else {
      clearInterval(timer);
      action();
    }
  }, 1000);
}
