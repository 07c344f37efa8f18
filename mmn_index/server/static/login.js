// The token, where the server asks for one: exchanged for a cookie that no script can read.
import * as api from "./api.js";
import { $, h } from "./dom.js";

let waiting = null;

/** Resolves when the server lets this browser in. */
export function login() {
  waiting ??= new Promise((resolve) => ask(resolve)).finally(() => (waiting = null));
  return waiting;
}

function ask(resolve) {
  const dialog = $("login");
  const token = h("input", { id: "token", type: "password", required: true, autocomplete: "current-password", "aria-describedby": "token-about token-said" });
  const said = h("p", { id: "token-said", class: "form-said", role: "alert" });
  const go = h("button", { type: "submit", class: "button primary", textContent: "Sign in" });
  const form = h(
    "form",
    {},
    h("h2", { id: "login-title", textContent: "This server asks for a token" }),
    h("p", { id: "token-about", textContent: "Whoever runs the server has it. This browser is remembered until the token changes." }),
    h("label", { for: "token", textContent: "Token" }),
    token,
    said,
    go,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    try {
      await api.login(token.value.trim());
      dialog.onclose = null;
      dialog.close();
      dialog.replaceChildren();
      resolve();
    } catch (error) {
      said.textContent = error.status === 401 ? "That is not the token of this server." : error.message;
      token.select();
    }
    go.disabled = false;
  });
  dialog.replaceChildren(form);
  // There is nothing behind it. Browsers let a second Escape close it all the same.
  dialog.oncancel = (event) => event.preventDefault();
  dialog.onclose = () => dialog.showModal();
  if (!dialog.open) dialog.showModal();
}
