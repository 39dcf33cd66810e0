// Small helpers for elements.

export const $ = (id) => document.getElementById(id);

export const copyOf = (template) => $(template).content.firstElementChild.cloneNode(true);

/** Set a text only if it changes, because a screen reader reads each change. */
export function say(where, text) {
  const element = typeof where === "string" ? $(where) : where;
  if (element.textContent !== text) element.textContent = text;
}

/** Move the focus, and the view if needed. */
export function goTo(id) {
  $(id).focus({ preventScroll: true });
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $(id).closest("section").scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

/** Make the children of an element exactly these, and move none that is in its place: moving loses the focus. */
export function setChildren(parent, children) {
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.children.length > children.length) parent.lastElementChild.remove();
}

export const pause = (seconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/** Wait, but not longer than until the connection is back. */
export function pauseOrOnline(seconds, signal) {
  const either = new AbortController();
  const end = () => either.abort();
  addEventListener("online", end, { signal: either.signal });
  signal?.addEventListener("abort", end, { signal: either.signal });
  return pause(seconds, either.signal).finally(end);
}
