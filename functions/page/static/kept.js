// Photos that are being sent, or a mark of those that were. Both survive a reload of the page, in the browser's database.

import { pause } from "./dom.js";
import { Problem } from "./problem.js";

const PATIENCE = 3; // s that the database may take

const memory = new Map(); // by job id; where the browser has no database, a photo lives as long as the tab
let database = null;

/** Open the database. A browser may close it at any time: Safari does in the background. */
function connect() {
  database ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open("triptych", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("photos");
    opening.onerror = reject;
    opening.onsuccess = () => {
      opening.result.onclose = () => (database = null);
      resolve(opening.result);
    };
  });
  return database;
}

async function ask(mode, act) {
  const store = (await connect()).transaction("photos", mode).objectStore("photos");
  return new Promise((resolve, reject) => {
    const asked = act(store);
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = reject;
  });
}

/** Ask the database, once more with a new connection if it fails. Throws if it does not answer. */
function inStore(mode, act) {
  const answer = ask(mode, act).catch(() => {
    database = null;
    return ask(mode, act);
  });
  const late = pause(PATIENCE).then(() => Promise.reject(new Error("The database does not answer.")));
  return Promise.race([answer, late]).catch((error) => {
    database = null;
    throw error;
  });
}

const read = (act) => inStore("readonly", act);
const write = (act) => inStore("readwrite", act).catch(() => {}); // the memory has the photo, too

async function keep(id, record) {
  memory.set(id, record);
  await write((store) => store.put(record, id));
}

/** Keep a photo of this owner until its job does not await it any more. */
export const keepPhoto = (id, owner, blob) => keep(id, { owner, blob });

/** Keep only that a photo of this owner was sent. */
export const keepMark = (id, owner) => keep(id, { owner });

/**
 * What is kept for a job: { owner, blob }, without the blob if it was sent; undefined if nothing is. Throws if that cannot
 * be read.
 */
export async function keptFor(id) {
  const stored = await read((store) => store.get(id)).catch(() => {
    if (!memory.has(id)) throw new Problem("upload_failed");
  });
  return stored ?? memory.get(id);
}

export async function forgetPhoto(id) {
  memory.delete(id);
  await write((store) => store.delete(id));
}

/** The ids of the jobs for which this tab keeps something, except of other owners: that is dropped if this owner is known. */
export const keptHere = (owner) => only(owner, [...memory.keys()]);

/** The same of jobs for which only the database keeps something. Throws if that does not answer. */
export async function keptElsewhere(owner) {
  const stored = await read((store) => store.getAllKeys());
  return only(owner, stored.filter((id) => !memory.has(id)));
}

async function only(owner, ids) {
  const mine = [];
  for (const id of ids) {
    const kept = await keptFor(id).catch(() => ({ owner })); // perhaps; only what can be read is dropped
    if (kept?.owner === owner) mine.push(id);
    else if (owner) await forgetPhoto(id);
  }
  return mine;
}

export async function forgetAll() {
  memory.clear();
  await write((store) => store.clear());
}
