// The jobs that the page knows, and the watch over those that are not ended.

import { api, jsonOf } from "./api.js";
import { pauseOrOnline } from "./dom.js";
import { emit, on } from "./events.js";
import { signedIn } from "./session.js";
import { ENDED } from "./settings.js";

const POLL_SECONDS = 2; // if the API names no Retry-After
const HIDDEN_SECONDS = 5; // between two questions while the tab is hidden
const SECONDS_PER_JOB = 0.5; // many running jobs are asked for less often each

const jobs = new Map(); // by id
const followed = new Map(); // by id: AbortController
const troubled = new Set(); // ids of jobs that cannot be asked for now
const removed = new Set(); // ids: a list may still hold jobs that were just deleted

export const jobOf = (id) => jobs.get(id);
export const isTroubled = (id) => troubled.has(id);
export const isRemoved = (id) => removed.has(id);
export const running = () => [...jobs.values()].filter((job) => !ENDED.has(job.status) && !removed.has(job.job_id));

/** Remember what the API said of a job, unless it is older than what is known. */
export function learn(job) {
  if (removed.has(job.job_id)) return;
  const before = jobs.get(job.job_id);
  if (before && Date.parse(before.updated_at) > Date.parse(job.updated_at)) return;
  const merged = before ? withLinks(job, before) : job;
  if (before && JSON.stringify(before) === JSON.stringify(merged)) return;
  jobs.set(job.job_id, merged);
  emit("job", merged);
  if (before && !ENDED.has(before.status) && ENDED.has(job.status)) emit("ended", merged);
}

/** A list has no links to whole pictures and no upload. Those that are known stay. */
function withLinks(job, before) {
  const images = job.images.map((image, index) => {
    const old = before.images[index];
    return !image.url && old?.url && old.prediction_id === image.prediction_id
      ? { ...image, url: old.url, download_url: old.download_url }
      : image;
  });
  const upload = job.upload ?? before.upload ?? null;
  return { ...job, images, upload, photo: job.photo && { ...job.photo, url: job.photo.url ?? before.photo?.url ?? null } };
}

/** Ask for a job until it has ended, also while the tab is hidden. */
export async function follow(id) {
  if (followed.has(id)) return;
  const controller = new AbortController();
  const { signal } = controller;
  followed.set(id, controller);
  let etag = null;
  let misses = 0;
  while (!signal.aborted) {
    let wait = POLL_SECONDS;
    try {
      const answer = await api("GET", `/jobs/${id}`, { signal, headers: etag && { "if-none-match": etag } });
      wait = Number(answer.headers.get("retry-after")) || POLL_SECONDS;
      misses = 0;
      setTroubled(id, false);
      if (answer.status !== 304) {
        const job = await jsonOf(answer);
        if (signal.aborted) break;
        etag = answer.headers.get("etag");
        learn(job);
      }
      if (ENDED.has(jobs.get(id)?.status)) break;
    } catch (problem) {
      if (signal.aborted || !signedIn()) break;
      if (problem.code === "job_not_found") {
        jobs.delete(id);
        emit("gone", { id, message: problem.message });
        break;
      }
      setTroubled(id, true);
      wait = POLL_SECONDS * 2 ** Math.min(++misses, 4);
    }
    if (document.hidden) wait = Math.max(wait, HIDDEN_SECONDS);
    await pauseOrOnline(Math.max(wait, followed.size * SECONDS_PER_JOB), signal);
  }
  if (followed.get(id) === controller) followed.delete(id);
  setTroubled(id, false);
}

function setTroubled(id, is) {
  if (isTroubled(id) === is) return;
  if (is) troubled.add(id);
  else troubled.delete(id);
  emit("trouble", id);
}

export function stopFollowing(id) {
  followed.get(id)?.abort();
  followed.delete(id);
}

export function markRemoved(id) {
  stopFollowing(id);
  removed.add(id);
  emit("removed", id);
}

export function restore(id) {
  removed.delete(id);
  emit("restored", id);
  if (jobs.has(id) && !ENDED.has(jobs.get(id).status)) follow(id);
}

on("signed-out", () => {
  for (const id of [...followed.keys()]) stopFollowing(id);
  jobs.clear();
  removed.clear();
});
