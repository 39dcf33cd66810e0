// The form: choose a photo, say what to make of it, and order the pictures.

import { api, jsonOf } from "./api.js";
import { $, say } from "./dom.js";
import { emit, on, tellOtherTabs } from "./events.js";
import { t } from "./language.js";
import { forget, prepare } from "./photo.js";
import { Problem } from "./problem.js";
import { open } from "./route.js";
import { arrival, send } from "./session.js";
import { LONGEST_PROMPT, settings } from "./settings.js";
import { choose as chooseStyle, chosenStyle, dropHiddenChoice } from "./styles.js";
import { learn } from "./jobs.js";
import { upload } from "./uploads.js";
import { isFull, showUsage } from "./usage.js";

const SHOW_COUNT_FROM = 0.8 * LONGEST_PROMPT;

let photo = null; // { blob, type } or { of: a job's id }
let order = null; // the last request that has no answer: repeating it returns the same job
let ordering = false;
let choosing = 0; // grows with each choice: the last one counts

// ── a photo is chosen: by the file dialog, the camera, a drop, a paste, or the sample ──

for (const [button, input] of [["choose", "file"], ["other", "file"], ["take", "camera"]]) {
  $(button).addEventListener("click", () => $(input).click());
}

for (const input of [$("file"), $("camera")]) {
  input.addEventListener("change", () => {
    if (input.files.length) chooseFirst(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
}

let inside = 0; // elements of the page that the dragged file is over

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault(); // the browser would open the photo instead of this page
    if (kind === "dragenter") inside += 1;
    if (kind === "dragleave") inside -= 1;
    if (kind === "drop") inside = 0;
    const wanted = !$("studio").hidden;
    document.body.classList.toggle("over", wanted && inside > 0);
    if (kind === "drop" && wanted && event.dataTransfer.files.length) chooseFirst(event.dataTransfer.files);
  });
}

document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files ?? [];
  if ($("studio").hidden || !files.length) return;
  event.preventDefault();
  chooseFirst(files);
});

function chooseFirst(files) {
  const said = files.length > 1 ? t("composer.only_first", { name: files[0].name }) : "";
  return choose(files[0], said);
}

async function choose(file, said = "") {
  const mine = ++choosing;
  say("problem", "");
  try {
    const found = await prepare(file);
    if (mine !== choosing) return forget(found);
    photo = found;
    dropHiddenChoice(); // it was for the photo before
    if (found.shown) showPreview(found.shown.src);
    else hidePreview(file.name); // few browsers can show HEIC
    say("problem", said);
  } catch (problem) {
    if (mine === choosing) say("problem", problem.message);
  }
  enable();
  $("drop").scrollIntoView({ block: "nearest" });
  if (photo && !$("make").disabled) $("make").focus({ preventScroll: true });
}

$("sample").addEventListener("click", async () => {
  $("sample").disabled = true;
  try {
    const answer = await send(new URL("./sample.jpg", import.meta.url));
    if (!answer.ok) throw await Problem.of(answer);
    await choose(new File([await arrival(answer.blob())], "sample.jpg"));
    if (!chosenStyle()) chooseStyle(document.querySelector("#styles [value]:not([value=''])")?.value);
    if (photo && !$("make").disabled) await make();
  } catch (problem) {
    say("problem", problem.message);
  } finally {
    $("sample").disabled = false;
  }
});

function showPreview(src) {
  URL.revokeObjectURL($("preview").src);
  $("preview").src = src;
  $("preview").hidden = $("other").hidden = false;
  $("invitation").hidden = true;
  say("chosen", "");
}

function hidePreview(name = "") {
  URL.revokeObjectURL($("preview").src);
  $("preview").removeAttribute("src");
  $("preview").hidden = $("other").hidden = true;
  $("invitation").hidden = false;
  say("chosen", name);
}

/** Put the photo, the style and the prompt of an earlier job into the form. */
export function useAgain(job) {
  choosing += 1;
  photo = { of: job.job_id };
  showPreview(job.photo.preview_url ?? job.photo.url);
  chooseStyle(job.style);
  $("prompt").value = job.prompt ?? "";
  count();
  say("problem", "");
  enable();
  $("composer").scrollIntoView({ block: "start" });
  $("prompt").focus({ preventScroll: true });
}

// ── the prompt: what is pasted stays whole, and is counted ──

function count() {
  const { length } = $("prompt").value;
  const over = length > LONGEST_PROMPT;
  $("counter").hidden = length < SHOW_COUNT_FROM;
  $("counter").classList.toggle("problem", over);
  say("counter", over ? t("composer.over", { count: length - LONGEST_PROMPT }) : t("composer.counter", { count: length, most: LONGEST_PROMPT }));
  $("prompt").setAttribute("aria-invalid", String(over));
}

$("prompt").addEventListener("input", count);
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("composer").requestSubmit();
});

// ── the order ──

function enable() {
  $("make").disabled = !photo || ordering || isFull();
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  make();
});

async function make() {
  if (ordering || !photo) return;
  const prompt = $("prompt").value.trim();
  const style = chosenStyle();
  say("problem", "");
  if (prompt.length > LONGEST_PROMPT) {
    say("problem", t("composer.too_long", { most: LONGEST_PROMPT }));
    return $("prompt").focus();
  }
  if (order?.photo !== photo || order.prompt !== prompt || order.style !== style) {
    order = { photo, prompt, style, key: crypto.randomUUID() };
  }
  ordering = true;
  enable();
  try {
    await sendOrder(order);
    order = null;
  } catch (problem) {
    if (problem.isFinal) order = null;
    say("problem", problem.message);
  }
  ordering = false;
  enable();
  showUsage();
  if ($("problem").textContent && !$("make").disabled) $("make").focus();
}

async function sendOrder({ photo: { blob, type, of }, prompt, style, key }) {
  const what = of ? { photo_of: of } : { content_type: type, content_length: blob.size };
  const body = { ...what, ...(prompt && { prompt }), ...(style && { style }) };
  const answer = await api("POST", "/jobs", { body, headers: { "idempotency-key": key } });
  const made = await jsonOf(answer);
  const id = made.job_id;
  // A copied photo needs no upload; and the answer to a repeated request may be of a job that has its photo already.
  if (blob && made.status === "AWAITING_UPLOAD") upload(id, made.upload, blob);
  learn(newJob(made, prompt, style));
  open(id);
  tellOtherTabs();
}

/** The job as the API would describe it now. */
function newJob({ job_id, status, created_at }, prompt, style) {
  const now = created_at ?? new Date().toISOString();
  const images = Array.from({ length: settings.imageCount }, (_, index) => ({ index, status: "PENDING", error: null }));
  const known = { job_id, status, created_at: now, updated_at: new Date(0).toISOString(), started_at: null };
  return { ...known, prompt: prompt || null, style: style || null, photo: null, images, error: null };
}

function clear() {
  choosing += 1;
  photo = order = null;
  $("composer").reset();
  chooseStyle("");
  hidePreview();
  count();
  say("problem", "");
  enable();
}

on("signed-out", clear);
on("usage", enable);
on("language", () => {
  count();
  say("problem", "");
});
on("removed", (id) => {
  if (photo?.of === id) clear();
});
