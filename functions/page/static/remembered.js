// Short texts that all tabs of the browser share: localStorage, which a browser may block.

export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Keep a text, or forget it (null). Where the browser keeps nothing, only this tab knows it. */
export function remember(key, text) {
  try {
    if (text === null) localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  } catch {
    // blocked, or full
  }
}
