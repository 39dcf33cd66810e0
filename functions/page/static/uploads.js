// Uploads, straight to S3: several at once, repeated where the connection breaks, continued after a reload.

import { getJob } from "./api.js";
import { pause, pauseOrOnline } from "./dom.js";
import { emit, on } from "./events.js";
import { follow, learn } from "./jobs.js";
import { forgetAll, forgetPhoto, keepMark, keepPhoto, keptElsewhere, keptFor, keptHere } from "./kept.js";
import { Problem } from "./problem.js";
import { claims, signedIn } from "./session.js";

const TRIES = 90; // with the pauses between them, longer than an upload URL is valid
const LONGEST_PAUSE = 30; // s
const ARRIVED = 412; // an earlier upload has arrived, and its answer was lost
const AGAIN = new Set([400, 403, 408, 409, 429]); // the URL is too old, the connection stalled, or S3 asks to repeat

const going = new Map(); // by job id: { percent, broken, controller }
const failed = new Map(); // by job id: why

export const uploadOf = (id) => going.get(id);
export const failureOf = (id) => failed.get(id)?.message;

/** Send a photo, and keep it until its job does not await it any more. */
export async function upload(id, target, blob) {
  begin(id); // before anything else, so that the page never says that the photo is missing
  await keepPhoto(id, claims().sub, blob);
  run(id, target);
}

/** Send a photo that an earlier visit or an earlier try did not send. */
export function resume(id) {
  if (!going.has(id)) run(id);
}

export function stopUpload(id) {
  going.get(id)?.controller.abort();
  failed.delete(id);
  forgetPhoto(id);
}

function begin(id) {
  failed.delete(id);
  if (!going.has(id)) going.set(id, { percent: 0, broken: false, controller: new AbortController() });
  emit("upload", id);
  return going.get(id);
}

async function run(id, target) {
  const state = begin(id);
  const { signal } = state.controller;
  try {
    // One tab sends a photo. If that tab is closed, another one goes on.
    await navigator.locks.request(`triptych ${id}`, { signal }, async () => {
      const kept = await keptFor(id);
      if (kept?.blob) await sendAll(id, kept, target, state);
    });
  } catch (problem) {
    if (!signal.aborted && problem.code !== "signed_out") failed.set(id, problem);
  }
  going.delete(id);
  emit("upload", id);
  if (!signal.aborted) follow(id);
}

/** Send a photo until it has arrived, or its job does not await it any more. Each try after the first has a new URL. */
async function sendAll(id, { owner, blob }, target, state) {
  const { signal } = state.controller;
  for (let tries = 1; tries <= TRIES; tries += 1) {
    signal.throwIfAborted();
    try {
      target ??= await nextTarget(id, signal);
      if (!target) return;
      state.broken = false;
      const status = await put(target, blob, state, id);
      signal.throwIfAborted();
      if (status === ARRIVED || (status >= 200 && status < 300)) return await keepMark(id, owner);
      if (status < 500 && !AGAIN.has(status)) throw new Problem("upload_failed", null, { status });
    } catch (problem) {
      if (!(problem instanceof Problem) || problem.isFinal || problem.code === "signed_out") throw problem;
    }
    target = null;
    state.broken = true;
    state.percent = 0;
    emit("upload", id);
    await pauseOrOnline(Math.min(2 ** Math.min(tries, 8), LONGEST_PAUSE) / 2, signal);
  }
  throw new Problem("upload_failed");
}

/** A new URL for the photo of a job; null if the job does not await it any more. */
async function nextTarget(id, signal) {
  const job = await getJob(id, { signal });
  learn(job);
  if (job.status !== "AWAITING_UPLOAD") return null;
  if (!job.upload) throw new Problem("upload_expired", null, { status: 410 }); // the job's last minutes
  return job.upload;
}

/** Upload a photo; return S3's status. XMLHttpRequest, because fetch reports no upload progress. */
function put({ method, url, headers }, photo, state, id) {
  const { signal } = state.controller;
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) {
      if (name.toLowerCase() !== "content-length") request.setRequestHeader(name, value); // the browser sets that one
    }
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      state.percent = (100 * loaded) / total;
      emit("upload", id);
    });
    request.addEventListener("load", () => resolve(request.status));
    request.addEventListener("error", () => reject(new Problem("offline")));
    request.addEventListener("abort", () => reject(signal.reason));
    const abort = () => request.abort();
    signal.addEventListener("abort", abort);
    request.addEventListener("loadend", () => signal.removeEventListener("abort", abort));
    request.send(photo);
  });
}

on("signed-in", async () => {
  const owner = claims().sub;
  for (const id of await keptHere(owner)) resume(id);
  for (let tries = 1; signedIn() && claims().sub === owner; tries += 1) {
    try {
      for (const id of await keptElsewhere(owner)) resume(id);
      return;
    } catch {
      await pause(Math.min(2 ** tries, LONGEST_PAUSE)); // a busy database may need longer
    }
  }
});
on("signed-out", (why) => {
  for (const state of going.values()) state.controller.abort();
  failed.clear();
  if (!why) forgetAll(); // a session that ended by itself: the photos are sent after the next sign-in
});
on("job", ({ job_id, status }) => status === "AWAITING_UPLOAD" || forgetPhoto(job_id));
on("gone", ({ id }) => forgetPhoto(id));
on("removed", stopUpload);
