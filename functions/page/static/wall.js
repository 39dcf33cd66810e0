// The job on the wall: its frames, how far it is, and what can be done with it.

import { api, getJob, jsonOf } from "./api.js";
import { useAgain } from "./composer.js";
import { $, copyOf, goTo, say, setChildren } from "./dom.js";
import { on, tellOtherTabs } from "./events.js";
import { follow, isRemoved, isTroubled, jobOf, learn } from "./jobs.js";
import { keptFor } from "./kept.js";
import { moment, seconds, stackTime, t } from "./language.js";
import { hang, hangPhoto, ratioOf } from "./pictures.js";
import { wordsFor } from "./problem.js";
import { remove } from "./removal.js";
import { close, onPlace, open, openPicture } from "./route.js";
import { downloadAll, downloadOne } from "./saving.js";
import { ENDED, settings } from "./settings.js";
import { styleName } from "./styles.js";
import { failureOf, resume, stopUpload, uploadOf } from "./uploads.js";
import { showUsage } from "./usage.js";

const COPIED_MINUTES = 10; // in which a copied photo has arrived
const NUMERALS = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"];

let shown = null; // the id of the job in the frames
let takenOff = null; // the id of the job that was deleted while it was shown
let said = ""; // in place of the job's own sentence
const usedUp = new Set(); // ids of jobs that have no retries left
const lost = new Set(); // ids of jobs whose photo this browser neither sends, nor keeps, nor has sent
const unread = new Set(); // ids of jobs whose photo this browser may keep, but cannot read
const keys = new Map(); // of requests for one more picture that have no answer yet, by job and picture

const NOTHING = { job_id: null, status: "NOTHING", images: [], photo: null, error: null, prompt: null, style: null };
const emptyImages = () =>
  Array.from({ length: settings.imageCount }, (_, index) => ({ index, status: "PENDING", error: null }));

const current = () => (shown && jobOf(shown)) || { ...NOTHING, images: emptyImages() };

// ── which job ──

onPlace(({ job }) => {
  if (job === shown) return render();
  shown = job && !isRemoved(job) ? job : null;
  said = "";
  if (shown) {
    if (!uploadOf(shown)) follow(shown);
    findPhoto(shown);
  }
  render();
  if (shown) goTo("work-title");
});

/** A job may await a photo that this browser does not have, or not any more, or cannot read. */
async function findPhoto(id) {
  unread.delete(id);
  try {
    if (uploadOf(id) || (await keptFor(id))) lost.delete(id);
    else lost.add(id);
  } catch {
    unread.add(id);
  }
  if (id === shown) render();
}

function showNothing(why = "") {
  close();
  said = why;
  render();
}

/** Why a photo that this browser may keep was not sent. */
function unsent(job) {
  if (job.status !== "AWAITING_UPLOAD") return undefined;
  return failureOf(job.job_id) ?? (needsUpload(job) && unread.has(job.job_id) ? wordsFor("upload_failed") : undefined);
}

/** Whether a job needs an upload. In its last minutes it has no URL, as a job with a copied photo never has. */
const needsUpload = (job) => job.upload || Date.now() - Date.parse(job.created_at) > COPIED_MINUTES * 60_000;

// ── its words ──

function sentence(job) {
  const total = job.images.length;
  const count = job.images.filter((image) => image.status === "STORED").length;
  switch (job.status) {
    case "NOTHING":
      return shown ? t("wall.loading") : t("wall.empty", { count: settings.imageCount });
    case "AWAITING_UPLOAD": {
      const sending = uploadOf(job.job_id);
      if (sending) return t(sending.broken ? "wall.broken" : "wall.sending");
      return unsent(job) ?? t(needsUpload(job) && lost.has(job.job_id) ? "wall.lost" : "wall.sending");
    }
    case "GENERATING":
      return count ? t("wall.some", { count, total }) : t("wall.drawing", { count: total });
    case "SUCCEEDED":
      return t("wall.all", { count: total });
    case "PARTIAL":
      return t("wall.partial", { count, total });
    case "CANCELED":
      return t(count ? "wall.canceled_some" : "wall.canceled");
    default:
      return job.error ? wordsFor(job.error.code, job.error.message) : t("failures.unavailable");
  }
}

function caption(job, image) {
  switch (image.status) {
    case "STORED":
      return t("wall.picture", { numeral: NUMERALS[image.index] });
    case "FAILED":
      return image.error ? wordsFor(image.error.code, image.error.message) : t("failures.prediction_failed");
    case "CANCELED":
      return t(job.status === "EXPIRED" ? "wall.not_started" : "wall.stopped");
    case "GENERATING":
      return t("wall.being_drawn");
    default:
      return job.status === "GENERATING" ? t("wall.waiting") : "\u00a0";
  }
}

// ── its picture ──

function render() {
  const job = current();
  const stored = job.images.filter((image) => image.status === "STORED").length;
  const failed = job.images.filter((image) => image.status === "FAILED").length;
  const ended = ENDED.has(job.status);
  $("work").classList.toggle("nothing", !shown);
  renderFrames(job);
  say("status", said || (isTroubled(shown) && !unsent(job) ? t("wall.trouble") : sentence(job)));
  renderAbout(job);
  renderUpload(job);
  const retryable = ["FAILED", "PARTIAL"].includes(job.status) && !settings.notRetryable.includes(job.error?.code);
  $("retry").hidden = !retryable || usedUp.has(job.job_id);
  say("retry", failed ? t("wall.retry", { count: failed }) : "");
  $("resend").hidden = !unsent(job);
  $("cancel").hidden = ended || !job.job_id;
  $("save-all").hidden = stored < 2;
  $("delete").hidden = !ended;
  tick();
}

function renderFrames(job) {
  const frames = $("frames");
  const children = job.images.map((_, index) => frames.children[index] ?? newFrame(index));
  setChildren(frames, children);
  frames.dataset.count = children.length;
  const ratio = ratioOf(job);
  if (ratio) frames.style.setProperty("--ratio", ratio);
  job.images.forEach((image, index) => {
    const frame = children[index];
    const stored = image.status === "STORED";
    frame.dataset.status = ["AWAITING_UPLOAD", "NOTHING"].includes(job.status) ? "EMPTY" : image.status;
    say(frame.querySelector(".caption"), caption(job, image));
    frame.querySelector(".download").hidden = frame.querySelector(".again").hidden = !stored;
    say(frame.querySelector(".download"), t("picture.download"));
    say(frame.querySelector(".again"), t("picture.again"));
    const number = t("picture.number", { count: index + 1, total: job.images.length });
    const button = frame.querySelector(".look");
    button.disabled = !stored;
    button.setAttribute("aria-label", stored ? t("picture.look", { count: index + 1 }) : t("wall.picture", { numeral: NUMERALS[index] }));
    for (const [name, key] of [["download", "picture.download_one"], ["again", "picture.again_one"]]) {
      frame.querySelector(`.${name}`).setAttribute("aria-label", t(key, { count: index + 1 }));
    }
    hang(frame.querySelector("img"), job, image, `${number}${job.prompt ? `: ${job.prompt}` : ""}`);
  });
}

function newFrame(index) {
  const frame = copyOf("frame");
  say(frame.querySelector(".numeral"), NUMERALS[index]);
  frame.querySelector(".look").addEventListener("click", () => openPicture(shown, index + 1));
  whenPressed(frame.querySelector(".download"), (job) => downloadOne(job, index));
  whenPressed(frame.querySelector(".again"), async (job) => {
    open(await oneMore(job.job_id, index));
    showUsage();
    tellOtherTabs();
  });
  return frame;
}

/** Make one more picture like this one; return the new job's id. A request without an answer is repeated with its key. */
async function oneMore(id, index) {
  const what = `${id} ${index}`;
  if (!keys.has(what)) keys.set(what, crypto.randomUUID());
  try {
    const headers = { "idempotency-key": keys.get(what) };
    const made = await jsonOf(await api("POST", `/jobs/${id}/images/${index}/again`, { headers }));
    keys.delete(what);
    return made.job_id;
  } catch (problem) {
    if (problem.isFinal) keys.delete(what);
    throw problem;
  }
}

function renderAbout(job) {
  $("about").hidden = !job.job_id;
  if (!job.job_id) return;
  hangPhoto($("about-photo"), job, t("composer.your_photo"));
  say("about-prompt", job.prompt ?? t(job.style ? "wall.no_words" : "wall.default_words"));
  $("about-style").hidden = !job.style;
  say("about-style", job.style ? styleName(job.style) : "");
  say("about-when", moment(job.created_at));
  $("about-when").dateTime = job.created_at;
  $("about-when").title = stackTime(job.created_at);
  $("use-again").hidden = !job.photo;
}

function renderUpload(job) {
  const sending = job.job_id && uploadOf(job.job_id);
  $("upload").hidden = !sending;
  $("bar").value = sending?.percent ?? 0;
  say("percent", sending ? `${Math.floor(sending.percent)}%` : "");
}

/** Say how long the job has taken, and how long it may take. */
function tick() {
  const job = current();
  const started = job.status === "GENERATING" && (job.started_at ?? job.created_at);
  $("elapsed").hidden = !started;
  if (!started) return;
  const passed = Math.max(0, (Date.now() - Date.parse(started)) / 1000);
  const { typical_seconds: typical, slow_seconds: slow } = job.progress ?? {};
  const time = seconds(passed);
  if (slow && passed > slow) say("elapsed", t("wall.slow", { time }));
  else if (typical) say("elapsed", t("wall.typical", { time, typical: seconds(typical) }));
  else say("elapsed", time);
}

setInterval(tick, 1000);

// ── what can be done with it ──

function whenPressed(button, act) {
  button.addEventListener("click", async () => {
    const id = shown;
    button.setAttribute("aria-disabled", "true"); // a disabled button would lose the focus
    if (button.dataset.busy) return;
    button.dataset.busy = "yes";
    said = "";
    try {
      await act(jobOf(id));
    } catch (problem) {
      if (shown === id) {
        said = problem.message;
        render();
      }
    } finally {
      delete button.dataset.busy;
      button.removeAttribute("aria-disabled");
    }
    if (button.hidden && (document.activeElement === document.body || document.activeElement === button)) $("work-title").focus();
  });
}

whenPressed($("retry"), async ({ job_id }) => {
  try {
    await api("POST", `/jobs/${job_id}/retry`);
  } catch (problem) {
    if (["retry_limit_reached", "nothing_to_retry"].includes(problem.code)) usedUp.add(job_id);
    throw problem;
  }
  follow(job_id);
  showUsage();
});

/** End a job. */
export async function cancel({ job_id }) {
  stopUpload(job_id);
  learn(await jsonOf(await api("POST", `/jobs/${job_id}/cancel`)));
}

whenPressed($("cancel"), cancel);
whenPressed($("resend"), ({ job_id }) => resume(job_id));
whenPressed($("save-all"), downloadAll);
whenPressed($("delete"), ({ job_id }) => remove(job_id));
whenPressed($("use-again"), async ({ job_id }) => useAgain(await getJob(job_id))); // with a valid link to the photo

// ── what happens meanwhile ──

on("job", (job) => {
  if (job.job_id !== shown) return;
  said = "";
  render();
});
on("upload", (id) => {
  if (id !== shown) return;
  if (uploadOf(id)) render();
  else findPhoto(id);
});
on("gone", ({ id, message }) => id === shown && showNothing(message));
on("trouble", (id) => id === shown && render());
on("removed", (id) => {
  takenOff = id === shown ? id : null;
  if (takenOff) showNothing(t("removal.done"));
});
on("restored", (id) => {
  if (id === takenOff) open(id);
});
on("signed-out", (why) => {
  usedUp.clear();
  lost.clear();
  unread.clear();
  keys.clear();
  if (!why) close(); // otherwise the job is shown again after the next sign-in
  shown = null;
  render();
});
on("styles", render);
on("language", () => {
  said = "";
  render();
});
