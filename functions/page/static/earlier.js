// All jobs of the user by day, newest first: running ones too, each a card that lives.

import { api, jsonOf } from "./api.js";
import { $, copyOf, pauseOrOnline, say, setChildren } from "./dom.js";
import { on, onOtherTab } from "./events.js";
import { follow, isRemoved, jobOf, learn } from "./jobs.js";
import { clock, dayOf, moment, stackTime, t } from "./language.js";
import { hang } from "./pictures.js";
import { remove } from "./removal.js";
import { open, place } from "./route.js";
import { signedIn } from "./session.js";
import { ENDED } from "./settings.js";
import { styleName } from "./styles.js";
import { uploadOf } from "./uploads.js";
import { cancel } from "./wall.js";

const JOBS_A_PAGE = 12;
const SEARCHED_PAGE = 50; // jobs
const MOST_SEARCHED = 500; // jobs that are read at once for a search
const ENOUGH = 12; // jobs found
const FEW = 4; // jobs; so many need no filter
const WALL_SECONDS = 8; // the longest time that the list waits for the job that the address names
const STALE_SECONDS = 5; // after which a visible tab asks again

const listed = new Set(); // ids
const cards = new Map(); // by job id
let cursor = null; // of the next page
let asked = 0; // grows with each new list: the last one counts
let refreshed = 0; // ms
let pages = 0;

const status = () => $("filter").value;
const words = () => $("search").value.trim().toLowerCase();

const newestFirst = (one, other) => Date.parse(other.created_at) - Date.parse(one.created_at);

function matches(job) {
  if (status() && job.status !== status()) return false;
  const text = [job.prompt, job.style && styleName(job.style), ...job.images.map((image) => image.prompt)].join(" ");
  return text.toLowerCase().includes(words());
}

const found = () =>
  [...listed]
    .filter((id) => jobOf(id) && !isRemoved(id))
    .map(jobOf)
    .filter(matches)
    .sort(newestFirst);

// ── the list ──

async function page(from, limit = JOBS_A_PAGE) {
  const query = new URLSearchParams({ limit, ...(status() && { status: status() }), ...(from && { cursor: from }) });
  return jsonOf(await api("GET", `/jobs?${query}`));
}

/**
 * Read the newest jobs again. What is listed already stays, also older pages; only jobs that should be on this page and
 * are not are gone. Repeated until it succeeds.
 */
async function refresh() {
  const mine = ++asked;
  for (let tries = 0; signedIn() && mine === asked; tries += 1) {
    try {
      const { jobs, cursor: next } = await page(null);
      if (mine !== asked) return;
      refreshed = Date.now();
      say("earlier-problem", "");
      const ids = new Set(jobs.map((job) => job.job_id));
      // An empty page that is not the last one says nothing about any job.
      const oldest = next ? Math.min(...jobs.map((job) => Date.parse(job.created_at))) : -Infinity;
      for (const id of listed) {
        const job = jobOf(id);
        const fresh = job && Date.parse(job.updated_at) === 0; // made here a moment ago
        if (!ids.has(id) && !fresh && !uploadOf(id) && (!job || Date.parse(job.created_at) > oldest)) listed.delete(id);
      }
      add(jobs);
      if (!pages) {
        cursor = next;
        pages = 1;
      }
      return render();
    } catch (problem) {
      if (problem.code === "signed_out" || mine !== asked) return;
      say("earlier-problem", problem.message);
      $("earlier").hidden = false;
      await pauseOrOnline(2 ** Math.min(tries + 1, 5));
    }
  }
}

function add(jobs) {
  for (const job of jobs) {
    listed.add(job.job_id);
    learn(job);
    if (!ENDED.has(job.status) && !uploadOf(job.job_id) && !isRemoved(job.job_id)) follow(job.job_id);
  }
}

async function more(limit = JOBS_A_PAGE) {
  const mine = asked;
  try {
    const { jobs, cursor: next } = await page(cursor, limit);
    if (mine !== asked) return;
    cursor = next;
    add(jobs);
    say("earlier-problem", "");
  } catch (problem) {
    if (problem.code !== "signed_out") say("earlier-problem", problem.message);
  }
  render();
}

/** Start again with another filter. */
function begin() {
  listed.clear();
  cursor = null;
  pages = 0;
  return refresh();
}

$("more").addEventListener("click", async () => {
  const before = new Set(cards.keys());
  await (words() ? searchOn() : more());
  const next = found().find((job) => !before.has(job.job_id));
  if (next) cards.get(next.job_id)?.querySelector(".open").focus();
  else $("earlier-title").focus({ preventScroll: true });
});

$("filter").addEventListener("change", begin);

let typing = null; // timer

$("search").addEventListener("input", () => {
  render();
  clearTimeout(typing);
  typing = setTimeout(searchOn, 300);
});

/** Read older jobs until enough of them match. */
async function searchOn() {
  const [wanted, goal] = [words(), found().length + ENOUGH];
  for (let read = 0; wanted && wanted === words() && cursor && found().length < goal && read < MOST_SEARCHED; read += SEARCHED_PAGE) {
    const before = cursor;
    await more(SEARCHED_PAGE);
    if (cursor === before) return; // it failed
  }
}

// ── its picture ──

function render() {
  const jobs = found();
  const days = Map.groupBy(jobs, (job) => dayOf(job.created_at));
  const wanted = [...days].map(([day, ofDay]) => {
    const section = [...$("jobs").children].find((one) => one.dataset.day === day) ?? newDay(day);
    setChildren(section.querySelector("ul"), ofDay.map((job) => fillCard(cards.get(job.job_id) ?? newCard(job.job_id), job)));
    return section;
  });
  setChildren($("jobs"), wanted);
  const kept = new Set(jobs.map((job) => job.job_id));
  for (const id of cards.keys()) if (!kept.has(id)) cards.delete(id);
  const filtered = status() || words();
  $("more").hidden = !cursor;
  $("filters").hidden = !filtered && listed.size < FEW;
  $("none-found").hidden = !filtered || jobs.length > 0;
  $("earlier").hidden = !jobs.length && !filtered && !$("earlier-problem").textContent;
}

function newDay(day) {
  const section = copyOf("day");
  section.dataset.day = day;
  say(section.querySelector("h3"), day);
  return section;
}

function newCard(id) {
  const card = copyOf("card");
  cards.set(id, card);
  card.querySelector(".open").addEventListener("click", () => open(id));
  const stop = card.querySelector(".stop");
  stop.addEventListener("click", () => {
    cancel({ job_id: id }).catch((problem) => say("earlier-problem", problem.message));
    card.querySelector(".open").focus();
  });
  card.querySelector(".remove").addEventListener("click", () => remove(id));
  return card;
}

const STATES = ["AWAITING_UPLOAD", "GENERATING", "PARTIAL", "FAILED", "CANCELED", "EXPIRED"];

function stateOf(job) {
  const sending = uploadOf(job.job_id);
  if (sending && job.status === "AWAITING_UPLOAD") return t("card.sending", { percent: Math.floor(sending.percent) });
  if (job.status === "GENERATING") {
    const count = job.images.filter((image) => image.status === "STORED").length;
    return t("card.GENERATING", { count, total: job.images.length });
  }
  return STATES.includes(job.status) ? t(`card.${job.status}`) : "";
}

function fillCard(card, job) {
  const strip = card.querySelector(".strip");
  const cells = job.images.map((_, index) => {
    if (strip.children[index]) return strip.children[index];
    const cell = document.createElement("span");
    const img = new Image();
    img.crossOrigin = "anonymous";
    cell.append(img);
    return cell;
  });
  setChildren(strip, cells);
  job.images.forEach((image, index) => {
    cells[index].dataset.status = image.status;
    hang(cells[index].firstChild, job, image, "", { later: true });
  });
  const ended = ENDED.has(job.status);
  const when = card.querySelector(".when");
  say(when, clock(job.created_at));
  when.dateTime = job.created_at;
  when.title = stackTime(job.created_at);
  say(card.querySelector(".state"), stateOf(job));
  say(card.querySelector(".asked"), job.prompt ?? (job.style ? styleName(job.style) : ""));
  const time = moment(job.created_at);
  const named = [t("card.open", { time }), stateOf(job), job.prompt].filter(Boolean).join(", ");
  card.querySelector(".open").setAttribute("aria-label", named);
  const removal = card.querySelector(".remove");
  say(removal, t("card.remove"));
  removal.setAttribute("aria-label", t("card.remove_of", { time }));
  removal.hidden = !ended;
  const stop = card.querySelector(".stop");
  say(stop, t("card.stop"));
  stop.setAttribute("aria-label", t("card.stop_of", { time }));
  stop.hidden = ended;
  return card;
}

// ── what happens meanwhile ──

on("job", (job) => {
  const card = cards.get(job.job_id);
  if (card && matches(job)) return fillCard(card, job);
  if (!listed.has(job.job_id) && Date.parse(job.updated_at) === 0) listed.add(job.job_id); // made in this tab
  if (listed.has(job.job_id)) render();
});
on("upload", (id) => {
  const card = cards.get(id);
  if (card) fillCard(card, jobOf(id));
});
on("removed", render);
on("restored", render);
on("gone", ({ id }) => {
  listed.delete(id);
  render();
});
on("styles", render);
on("language", () => {
  say("earlier-problem", "");
  render();
});
on("signed-in", async () => {
  clear();
  const mine = asked;
  await wallFirst();
  if (mine === asked) refresh();
});

/** On a slow connection, the job that the address names comes before the list. */
function wallFirst() {
  if (!place().job) return Promise.resolve();
  return new Promise((resolve) => {
    on("picture", resolve);
    on("gone", resolve);
    on("trouble", resolve);
    on("job", ({ images }) => images.some((image) => image.status === "STORED") || resolve());
    setTimeout(resolve, WALL_SECONDS * 1000);
  });
}
on("signed-out", clear);

function clear() {
  asked += 1;
  listed.clear();
  cards.clear();
  cursor = null;
  pages = 0;
  $("search").value = $("filter").value = "";
  $("jobs").replaceChildren();
  say("earlier-problem", "");
  $("earlier").hidden = true;
}

const again = () => signedIn() && refresh();
onOtherTab(again);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && Date.now() - refreshed > STALE_SECONDS * 1000) again();
});
