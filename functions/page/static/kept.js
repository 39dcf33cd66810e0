// Photos that are not sent yet. They survive a reload of the page, in the browser's database.

const memory = new Map(); // by job id; where the browser has no database, a photo lives as long as the tab

const database = new Promise((resolve) => {
  try {
    const opening = indexedDB.open("triptych", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("photos");
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => resolve(null);
  } catch {
    resolve(null);
  }
});

async function inStore(mode, act) {
  const found = await database;
  if (!found) return undefined;
  return new Promise((resolve) => {
    const asked = act(found.transaction("photos", mode).objectStore("photos"));
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => resolve(undefined);
  });
}

/** Keep a photo of this owner until it is sent. */
export async function keepPhoto(id, owner, blob) {
  memory.set(id, { owner, blob });
  await inStore("readwrite", (store) => store.put({ owner, blob }, id));
}

export const keptPhoto = async (id) => (await inStore("readonly", (store) => store.get(id)))?.blob ?? memory.get(id)?.blob;

export async function forgetPhoto(id) {
  memory.delete(id);
  await inStore("readwrite", (store) => store.delete(id));
}

/** The ids of the jobs whose photo this owner has not sent yet. Photos of other owners are dropped. */
export async function keptJobs(owner) {
  const ids = (await inStore("readonly", (store) => store.getAllKeys())) ?? [];
  const mine = [];
  for (const id of ids) {
    const one = await inStore("readonly", (store) => store.get(id));
    if (one?.owner === owner) mine.push(id);
    else await forgetPhoto(id);
  }
  return mine;
}

export async function forgetAll() {
  memory.clear();
  await inStore("readwrite", (store) => store.clear());
}
