// The styles that an order may name, as a group of radio buttons with pictures.

import { api, jsonOf } from "./api.js";
import { $, copyOf, pause, pauseOrOnline, say } from "./dom.js";
import { emit, on } from "./events.js";
import { hasWords, t } from "./language.js";
import { signedIn } from "./session.js";

const AT_ONCE = 2; // pictures. Each is an invocation of the API's function, and a new AWS account runs ten at once.
const PAUSES = [0, 1, 4, 16]; // s, each before a request for the same picture

const group = $("styles");
let styles = []; // of this stack
let chosen = ""; // the id of a style, also before its button is there
let asked = 0; // grows with each sign-in

const isBuiltIn = ({ id, preview }) => preview === `/api/v1/styles/${id}/preview`;

/** The name of a style, or its id if the page knows no name. The page has its own words for the built-in ones. */
export function styleName(id) {
  const style = styles.find((one) => one.id === id);
  if (style && !isBuiltIn(style)) return style.name;
  return (style || !styles.length) && hasWords(`styles.${id}.name`) ? t(`styles.${id}.name`) : id;
}

function choice(style) {
  const label = copyOf("style");
  label.querySelector("input").value = style.id;
  // Only this stack's own pictures: the page loads nothing from elsewhere.
  if (/^\/(?!\/)/.test(style.preview ?? "")) label.querySelector("img").dataset.later = style.preview;
  else label.querySelector("img").remove();
  return label;
}

/** Load the pictures, a few at a time. */
function loadPictures() {
  const images = [...group.querySelectorAll("img")];
  const loadInTurn = async () => {
    while (images.length) await load(images.shift());
  };
  for (let turn = 0; turn < AT_ONCE; turn += 1) loadInTurn();
}

async function load(img) {
  for (const seconds of PAUSES) {
    await pause(seconds);
    const loaded = await new Promise((resolve) => {
      img.onload = () => resolve(true);
      img.onerror = () => resolve(false);
      img.src = img.dataset.later;
    });
    if (loaded) return img.classList.add("there");
  }
  img.remove();
}

function render() {
  for (const label of group.querySelectorAll(".style")) {
    const id = label.querySelector("input").value;
    const style = styles.find((one) => one.id === id);
    const own = style && !isBuiltIn(style);
    say(label.querySelector("span"), own ? style.name : t(`styles.${id || "none"}.name`));
    label.title = own ? style.description : t(`styles.${id || "none"}.description`);
  }
}

/** Show the styles of the stack, as soon as they can be had. Without them, the page works as before. */
async function showStyles() {
  const mine = ++asked;
  for (let tries = 1; signedIn() && mine === asked && !group.querySelector("input"); tries += 1) {
    try {
      const found = await jsonOf(await api("GET", "/styles"));
      if (mine !== asked) return;
      ({ styles } = found);
      group.querySelector(".choices").replaceChildren(...[{ id: "" }, ...styles].map(choice));
      choose(chosen);
      render();
      group.hidden = false;
      loadPictures();
      emit("styles");
    } catch (problem) {
      group.hidden = !group.querySelector("input");
      if (problem.isFinal) return;
      await pauseOrOnline(2 ** Math.min(tries, 5));
    }
  }
}

/** The id of the chosen style, or an empty text. */
export const chosenStyle = () => chosen;

/** Choose a style, or none. One that the stack does not have is none, as soon as its styles are known. */
export function choose(id) {
  const inputs = [...group.querySelectorAll("input")];
  const exists = !inputs.length || inputs.some((input) => input.value === id);
  chosen = exists ? (id ?? "") : "";
  for (const input of inputs) input.checked = input.value === chosen;
}

/** Choose no style, unless the choice can be seen. */
export function dropHiddenChoice() {
  if (group.hidden) choose("");
}

group.addEventListener("change", ({ target }) => (chosen = target.value));

on("language", render);
on("signed-in", showStyles);
