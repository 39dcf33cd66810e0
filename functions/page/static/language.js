// The words of the page, in the user's language. Each language is one file: en.json, ko.json.

import { pauseOrOnline } from "./dom.js";
import { emit } from "./events.js";
import { recall, remember } from "./remembered.js";

const LANGUAGES = ["en", "ko"];
const KEY = "triptych-language";

const known = (tag) => LANGUAGES.find((language) => tag?.toLowerCase().split("-")[0] === language);

export let language = known(recall(KEY)) ?? navigator.languages.map(known).find(Boolean) ?? "en";

const version = new URL(import.meta.url).search; // of the page's files
async function load(name) {
  const answer = await fetch(new URL(`./${name}.json${version}`, import.meta.url));
  if (!answer.ok) throw new Error(`The words came with status ${answer.status}.`); // API Gateway's body is JSON, too
  return answer.json();
}

/** The page shows nothing without words: the first ones are asked for until they are there. */
async function loadFirst() {
  for (let tries = 1; ; tries += 1) {
    try {
      return await load(language);
    } catch {
      await pauseOrOnline(2 ** Math.min(tries, 5));
    }
  }
}

let words = await loadFirst();

function find(key) {
  let found = words;
  for (const part of key.split(".")) found = found?.[part];
  return found;
}

export const hasWords = (key) => find(key) !== undefined;

/**
 * The words of a key. `{name}` becomes a value; `{count:word}` a number as a word, and `{count:Word}` with a capital
 * letter. Words with several forms are chosen by `count`.
 */
export function t(key, values = {}) {
  let text = find(key) ?? key;
  if (typeof text === "object") text = (values.count === 1 && text.one) || text.other;
  return text.replace(/\{(\w+)(?::(word|Word))?\}/g, (_, name, form) => {
    const value = values[name];
    if (!form) return typeof value === "number" ? value.toLocaleString(language) : String(value ?? "");
    const word = words.numbers[value] ?? value.toLocaleString(language);
    return form === "Word" ? word[0].toUpperCase() + word.slice(1) : word;
  });
}

/** Put words into the elements that name them: data-say for the text, data-say-NAME for an attribute. */
function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-say]")) element.textContent = t(element.dataset.say);
  for (const [data, attribute] of [
    ["sayLabel", "aria-label"],
    ["sayPlaceholder", "placeholder"],
    ["sayAlt", "alt"],
  ]) {
    const name = data.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    for (const element of document.querySelectorAll(`[data-${name}]`)) element.setAttribute(attribute, t(element.dataset[data]));
  }
}

export async function switchLanguage() {
  const other = LANGUAGES[(LANGUAGES.indexOf(language) + 1) % LANGUAGES.length];
  try {
    words = await load(other);
  } catch {
    return; // no connection: the page stays in the language that it has
  }
  language = other;
  remember(KEY, language);
  start();
  emit("language");
}

export function start() {
  for (const template of document.querySelectorAll("template")) {
    for (const element of template.content.querySelectorAll("[data-say]")) element.textContent = t(element.dataset.say);
  }
  translate();
}

// ── times, in the zone of the viewer ──

const same = (one, other) => one.toDateString() === other.toDateString();

export const clock = (time) => new Intl.DateTimeFormat(language, { timeStyle: "short" }).format(new Date(time));

export function dayOf(time) {
  const [day, today] = [new Date(time), new Date()];
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (same(day, today)) return t("day.today");
  if (same(day, yesterday)) return t("day.yesterday");
  const year = day.getFullYear() === today.getFullYear() ? {} : { year: "numeric" };
  return new Intl.DateTimeFormat(language, { weekday: "long", month: "long", day: "numeric", ...year }).format(day);
}

export const moment = (time) =>
  new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(time));

/** The time of the stack's own zone, as the API wrote it. */
export function stackTime(time) {
  const [, day, hour, zone] = /^([\d-]+)T(\d\d:\d\d).*?(Z|[+-]\d\d:\d\d)$/.exec(time) ?? [];
  return day ? t("stack_time", { time: `${day} ${hour}`, zone: zone === "Z" ? "UTC" : `UTC${zone}` }) : time;
}

export function seconds(count) {
  const whole = Math.max(0, Math.round(count));
  return count < 90 ? t("seconds", { count: whole }) : t("minutes", { count: Math.round(count / 60) });
}

export function inTime(count) {
  const unit = count < 90 ? "second" : count < 5400 ? "minute" : "hour";
  return new Intl.RelativeTimeFormat(language).format(Math.ceil(count / { second: 1, minute: 60, hour: 3600 }[unit]), unit);
}

export const list = (items) => new Intl.ListFormat(language).format(items);

export function megabytes(bytes) {
  const number = bytes / 1048576;
  return `${number >= 10 ? Math.round(number) : Number(number.toPrecision(2))} MB`;
}
