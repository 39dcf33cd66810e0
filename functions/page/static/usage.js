// What may still be made today: said before a photo is sent, not after.

import { api } from "./api.js";
import { $, say } from "./dom.js";
import { emit, on } from "./events.js";
import { clock, t } from "./language.js";
import { wordsFor } from "./problem.js";
import { signedIn } from "./session.js";
import { settings } from "./settings.js";

const ACTIVE_SECONDS = 10; // until the page asks again whether a job has ended elsewhere

let usage = null;
let asker = 0; // grows with each sign-in and sign-out
let timer = null;

const left = () =>
  usage.daily_pictures === null ? Infinity : Math.max(0, usage.daily_pictures - usage.pictures_today);
const busy = () => usage.max_active_jobs !== null && usage.active_jobs >= usage.max_active_jobs;

/** Whether the next request would exceed a limit. */
export const isFull = () => usage !== null && (busy() || left() < settings.imageCount);

export async function showUsage() {
  const mine = asker;
  let found;
  try {
    found = await (await api("GET", "/usage")).json();
  } catch {
    return; // the API refuses what exceeds a limit, whatever this line says
  }
  if (mine !== asker || !signedIn()) return;
  usage = found;
  render();
  clearTimeout(timer);
  const turn = new Date(usage.day_ends_at) - Date.now();
  timer = setTimeout(showUsage, Math.max(1000, busy() ? ACTIVE_SECONDS * 1000 : turn));
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
  say("usage", "");
}

on("signed-in", () => {
  forget();
  showUsage();
});
on("signed-out", forget);
on("ended", showUsage);
on("language", render);
