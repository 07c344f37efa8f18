// What this browser remembers. Storage may be forbidden or full; nothing depends on it.

export function recall(key, otherwise) {
  try {
    return localStorage.getItem(key) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Forgotten, then.
  }
}
