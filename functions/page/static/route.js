// The address says what is shown: nothing, a job, or one of its pictures. So the browser's own buttons work.

const params = () => new URLSearchParams(location.hash.slice(1));
const listeners = [];

/** What the address names: { job, picture }; picture counts from 1. */
export function place() {
  const found = params();
  return { job: found.get("job"), picture: Number(found.get("picture")) || null };
}

export const onPlace = (act) => listeners.push(act);
export const apply = () => listeners.forEach((act) => act(place()));

function go(hash, { replace = false } = {}) {
  if (location.hash === hash || (!hash && !location.hash)) return apply();
  // What takes the place of an entry from outside is from outside too: going back from it would leave the page.
  if (replace) history.replaceState(history.state, "", hash || location.pathname);
  else history.pushState({ inside: true }, "", hash || location.pathname);
  apply();
}

export const open = (job) => go(`#job=${job}`);
export const openPicture = (job, picture, options) => go(`#job=${job}&picture=${picture}`, options);

/** Show no job. Its place in the history is taken, because it may not exist any more. */
export const close = () => go("", { replace: true });

/** Leave a picture: back if the page opened it, otherwise to its job. */
export function closePicture() {
  const { job, picture } = place();
  if (!picture) return;
  if (history.state?.inside) history.back();
  else go(`#job=${job}`, { replace: true });
}

/** Take a name's value out of the address, so that the address bar does not keep it. */
export function take(name) {
  const found = params();
  const value = found.get(name);
  if (value === null) return null;
  found.delete(name);
  history.replaceState(null, "", found.size ? `#${found}` : location.pathname);
  return value;
}

addEventListener("popstate", apply);
