// The switch between the system's theme, light and dark.
import { recall, remember } from "./storage.js";

const KEY = "mmn-theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const SHOWN = { auto: ["◐", "Theme: as the system"], light: ["☀", "Theme: light"], dark: ["☾", "Theme: dark"] };

export function startTheme(button) {
  let theme = recall(KEY, "auto");
  if (!Object.hasOwn(NEXT, theme)) theme = "auto";
  const show = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const [sign, name] = SHOWN[theme];
    button.textContent = sign;
    button.setAttribute("aria-label", name);
    button.title = name;
    document.dispatchEvent(new CustomEvent("themechange"));
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme];
    remember(KEY, theme);
    show();
  });
  show();
}
