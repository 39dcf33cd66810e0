// One picture in full: zoom, the other pictures, and a slider between the photo and the picture.

import { getJob } from "./api.js";
import { $, say } from "./dom.js";
import { on } from "./events.js";
import { jobOf, learn } from "./jobs.js";
import { t } from "./language.js";
import { hangPhoto } from "./pictures.js";
import { closePicture, onPlace, openPicture } from "./route.js";
import { canCopy, canShare, copy, downloadOne, share } from "./saving.js";

const MOST = 8; // times
const STEP = 1.5; // times, for one press or click
const SWIPE = 50; // px
const PAN = 80; // px, for one press of an arrow

const dialog = $("viewer");
const stage = $("stage");
let shown = null; // { job, index }
let zoom = { scale: 1, x: 0, y: 0 };
let loading = 0; // grows with each picture: the last one counts

// ── which picture ──

onPlace(async ({ job: id, picture }) => {
  if (!id || !picture) return hide();
  const mine = ++loading;
  try {
    if (!jobOf(id)?.images[picture - 1]?.url) learn(await getJob(id));
  } catch {
    if (mine === loading) closePicture();
    return;
  }
  if (mine !== loading) return;
  const image = jobOf(id)?.images[picture - 1];
  if (image?.status !== "STORED") return closePicture();
  show(id, picture - 1);
});

function hide() {
  loading += 1;
  if (!dialog.open) return;
  const { index } = shown ?? {};
  dialog.close();
  shown = null;
  // The frame, because the button that opened the picture may have been another one.
  document.querySelectorAll("#frames .look")[index]?.focus();
}

function show(id, index) {
  const fresh = !dialog.open;
  shown = { id, index };
  say("viewer-said", "");
  if (fresh) {
    compare(false);
    dialog.showModal();
    stage.focus();
  }
  setZoom({ scale: 1, x: 0, y: 0 });
  render();
  load();
}

/** The indexes of the pictures that can be shown. */
const all = () => jobOf(shown.id).images.filter((image) => image.status === "STORED").map((image) => image.index);

function step(by) {
  const indexes = all();
  const next = indexes[indexes.indexOf(shown.index) + by];
  if (next !== undefined) openPicture(shown.id, next + 1, { replace: true });
}

function render() {
  const job = jobOf(shown.id);
  const indexes = all();
  const at = indexes.indexOf(shown.index);
  say("viewer-title", t("picture.number", { count: shown.index + 1, total: job.images.length }));
  say("viewer-prompt", job.images[shown.index].prompt ?? job.prompt ?? "");
  for (const [name, off] of [["previous", at <= 0], ["next", at >= indexes.length - 1]]) {
    $(name).setAttribute("aria-disabled", String(off));
    $(name).hidden = indexes.length < 2;
  }
  $("viewer-compare").hidden = !job.photo;
  $("viewer-share").hidden = !canShare();
  $("viewer-copy").hidden = !canCopy();
  $("viewer-picture").alt = t("picture.number", { count: shown.index + 1, total: job.images.length });
  hangPhoto($("viewer-photo"), job, t("composer.your_photo"));
  if (!stage.classList.contains("comparing")) $("viewer-photo").hidden = true;
}

/** Show the preview at once, and the whole picture when it is there. */
async function load() {
  const mine = ++loading;
  const { id, index } = shown;
  const image = jobOf(id).images[index];
  const img = $("viewer-picture");
  img.src = image.preview_url ?? image.url;
  const whole = new Image();
  whole.crossOrigin = "anonymous";
  stage.setAttribute("aria-busy", "true");
  for (const renew of [false, true]) {
    try {
      if (renew) learn(await getJob(id)); // a presigned URL is valid for some minutes only
      whole.src = jobOf(id).images[index].url;
      await whole.decode();
      if (mine === loading) img.src = whole.src;
      break;
    } catch {
      if (mine !== loading) return;
      if (renew) say("viewer-said", t("failures.unavailable"));
    }
  }
  stage.removeAttribute("aria-busy");
}

// ── zoom ──

function setZoom({ scale, x, y }) {
  scale = Math.min(Math.max(scale, 1), MOST);
  const { clientWidth: width, clientHeight: height } = stage;
  const limit = (value, size) => Math.min(Math.max(value, (-size * (scale - 1)) / 2), (size * (scale - 1)) / 2);
  zoom = { scale, x: limit(x, width), y: limit(y, height) };
  $("layers").style.transform = `translate(${zoom.x}px, ${zoom.y}px) scale(${scale})`;
  stage.classList.toggle("zoomed", scale > 1);
  $("zoom-out").setAttribute("aria-disabled", String(scale === 1));
  $("zoom-in").setAttribute("aria-disabled", String(scale === MOST));
}

/** Zoom so that what is at a point of the stage, counted from its middle, stays there. */
function zoomBy(factor, at = { x: 0, y: 0 }) {
  const scale = Math.min(Math.max(zoom.scale * factor, 1), MOST);
  const real = scale / zoom.scale;
  setZoom({ scale, x: at.x - (at.x - zoom.x) * real, y: at.y - (at.y - zoom.y) * real });
}

const fromMiddle = ({ clientX, clientY }) => {
  const box = stage.getBoundingClientRect();
  return { x: clientX - box.left - box.width / 2, y: clientY - box.top - box.height / 2 };
};

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY / 300), fromMiddle(event));
}, { passive: false });
stage.addEventListener("dblclick", (event) => (zoom.scale > 1 ? setZoom({ scale: 1, x: 0, y: 0 }) : zoomBy(2.5, fromMiddle(event))));

// ── fingers and the mouse: drag, pinch, swipe, and the slider ──

const pointers = new Map(); // by id: the last place
let began = null; // where one pointer came down

stage.addEventListener("pointerdown", (event) => {
  stage.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, fromMiddle(event));
  began = pointers.size === 1 ? { ...fromMiddle(event), scale: zoom.scale } : null;
  if (slides()) cutAt(fromMiddle(event));
});

const slides = () => stage.classList.contains("comparing") && zoom.scale === 1 && pointers.size === 1;

stage.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const now = fromMiddle(event);
  const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
  pointers.set(event.pointerId, now);
  if (other) {
    const apart = (one) => Math.hypot(one.x - other.x, one.y - other.y) || 1;
    zoomBy(apart(now) / apart(before), { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
  } else if (slides()) {
    cutAt(now);
  } else if (zoom.scale > 1) {
    setZoom({ ...zoom, x: zoom.x + now.x - before.x, y: zoom.y + now.y - before.y });
  }
});

for (const kind of ["pointerup", "pointercancel"]) {
  stage.addEventListener(kind, (event) => {
    const now = pointers.get(event.pointerId);
    if (!now) return;
    const slid = slides();
    pointers.delete(event.pointerId);
    if (kind === "pointerup" && began?.scale === 1 && zoom.scale === 1 && !slid) {
      const by = now.x - began.x;
      if (Math.abs(by) > SWIPE && Math.abs(by) > Math.abs(now.y - began.y)) step(by < 0 ? 1 : -1);
    }
    began = null;
  });
}

// ── before and after ──

function compare(wanted) {
  stage.classList.toggle("comparing", wanted);
  $("viewer-compare").setAttribute("aria-pressed", String(wanted));
  $("slider").hidden = !wanted;
  $("viewer-photo").hidden = !wanted;
  if (wanted) setCut(50);
}

function setCut(percent) {
  $("cut").value = percent;
  stage.style.setProperty("--cut", `${percent}%`);
}

const cutAt = ({ x }) => setCut(Math.min(Math.max(50 + (100 * x) / stage.clientWidth, 0), 100));

$("cut").addEventListener("input", () => setCut($("cut").value));

// ── buttons and keys ──

async function take(act) {
  const { id, index } = shown;
  say("viewer-said", "");
  try {
    await act(jobOf(id), index);
    if (act === copy) say("viewer-said", t("picture.copied"));
  } catch (problem) {
    say("viewer-said", problem.message);
  }
}

const ACTIONS = {
  previous: () => step(-1),
  next: () => step(1),
  "zoom-in": () => zoomBy(STEP),
  "zoom-out": () => zoomBy(1 / STEP),
  "viewer-compare": () => compare(!stage.classList.contains("comparing")),
  "viewer-download": () => take(downloadOne),
  "viewer-share": () => take(share),
  "viewer-copy": () => take(copy),
  "viewer-close": closePicture,
};

for (const [id, act] of Object.entries(ACTIONS)) $(id).addEventListener("click", act);

/** Move a picture that is zoomed in; otherwise turn to another one. */
const arrow = (x, y, turn) => () =>
  zoom.scale > 1 ? setZoom({ ...zoom, x: zoom.x - x * PAN, y: zoom.y - y * PAN }) : turn?.();

const KEYS = {
  ArrowLeft: arrow(-1, 0, ACTIONS.previous),
  ArrowRight: arrow(1, 0, ACTIONS.next),
  ArrowUp: arrow(0, -1),
  ArrowDown: arrow(0, 1),
  PageUp: ACTIONS.previous,
  PageDown: ACTIONS.next,
  "+": ACTIONS["zoom-in"],
  "=": ACTIONS["zoom-in"],
  "-": ACTIONS["zoom-out"],
  0: () => setZoom({ scale: 1, x: 0, y: 0 }),
  c: () => $("viewer-compare").hidden || ACTIONS["viewer-compare"](),
};

dialog.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === $("cut") && event.key.startsWith("Arrow")) return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// Esc: the address changes, and then the viewer.
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  closePicture();
});
addEventListener("resize", () => dialog.open && setZoom(zoom));
on("language", () => dialog.open && render());
on("job", (job) => dialog.open && job.job_id === shown.id && render());
on("removed", (id) => shown?.id === id && hide());
on("signed-out", hide);
