// Runs before the page is painted; theme.js has the switch.
try {
  const theme = localStorage.getItem("mmn-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden: the system's theme it is.
}
