// What may still be made today: said before a photo is sent, not after.

import { api, jsonOf } from "./api.js";
import { $, say } from "./dom.js";
import { emit, on } from "./events.js";
import { clock, t } from "./language.js";
import { wordsFor } from "./problem.js";
import { signedIn } from "./session.js";
import { settings } from "./settings.js";

// How long the page waits before it asks again:
const ACTIVE_SECONDS = 10; // whether a job has ended elsewhere
const FAILED_SECONDS = 30; // after a request that failed
const ENDED_SECONDS = 5; // after the end of a job, because pictures that were not made are given back a moment later
const TURN_SECONDS = [60, 24 * 3600]; // for the end of the day: least and most, because the browser's clock may be wrong

let usage = null;
let asker = 0; // grows with each sign-in and sign-out
let timer = null;
let soon = null; // a timer

const left = () =>
  usage.daily_pictures === null ? Infinity : Math.max(0, usage.daily_pictures - usage.pictures_today);
const busy = () => usage.max_active_jobs !== null && usage.active_jobs >= usage.max_active_jobs;

/** Whether the next request would exceed a limit. */
export const isFull = () => usage !== null && (busy() || left() < settings.imageCount);

export async function showUsage() {
  const mine = asker;
  const found = await api("GET", "/usage")
    .then(jsonOf)
    .catch(() => null); // the API refuses what exceeds a limit, whatever this line says
  if (mine !== asker || !signedIn()) return;
  if (found) {
    usage = found;
    render();
  }
  clearTimeout(timer);
  timer = setTimeout(showUsage, 1000 * (found ? untilNext() : FAILED_SECONDS));
}

function untilNext() {
  if (busy()) return ACTIVE_SECONDS;
  const [least, most] = TURN_SECONDS;
  return Math.min(Math.max(least, (new Date(usage.day_ends_at) - Date.now()) / 1000), most);
}

function render() {
  say("usage", usage ? sentence() : "");
  emit("usage");
}

function sentence() {
  const time = clock(usage.day_ends_at);
  const count = left();
  if (!count) return `${wordsFor("daily_limit_reached")} ${t("usage.more_from", { time })}`;
  if (count < settings.imageCount) return `${t("usage.too_few", { count })} ${t("usage.more_from", { time })}`;
  if (busy()) return wordsFor("too_many_active_jobs");
  return count === Infinity ? "" : t("usage.left", { count, time });
}

function forget() {
  asker += 1;
  usage = null;
  clearTimeout(timer);
  clearTimeout(soon);
  say("usage", "");
}

on("signed-in", () => {
  forget();
  showUsage();
});
on("signed-out", forget);
on("ended", () => {
  clearTimeout(soon);
  soon = setTimeout(showUsage, ENDED_SECONDS * 1000);
});
on("language", render);
