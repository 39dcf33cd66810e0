// The styles that an order may name, as a group of radio buttons with pictures.

import { api } from "./api.js";
import { $, copyOf, say } from "./dom.js";
import { on } from "./events.js";
import { t } from "./language.js";
import { signedIn } from "./session.js";

const group = $("styles");
let styles = []; // of this stack

const isBuiltIn = ({ id, preview }) => preview === `/api/v1/styles/${id}/preview`;

/** The name of a style. The page has its own words for the built-in ones. */
export function styleName(id) {
  const style = styles.find((one) => one.id === id);
  return style && !isBuiltIn(style) ? style.name : style || !styles.length ? t(`styles.${id}.name`) : id;
}

function choice(style) {
  const label = copyOf("style");
  const input = label.querySelector("input");
  const img = label.querySelector("img");
  input.value = style.id;
  // Only this stack's own pictures: the page loads nothing from elsewhere.
  if (/^\/(?!\/)/.test(style.preview ?? "")) img.src = style.preview;
  else img.remove();
  return label;
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

/** Show the styles of the stack, as soon as there is a connection. Without any, the page works as before. */
async function showStyles() {
  if (group.querySelector("input")) return;
  try {
    ({ styles } = await (await api("GET", "/styles")).json());
    if (group.querySelector("input")) return; // asked for twice
    group.querySelector(".choices").replaceChildren(...[{ id: "" }, ...styles].map(choice));
    choose("");
    render();
    group.hidden = false;
  } catch (problem) {
    group.hidden = true;
    if (problem.code === "offline") addEventListener("online", () => signedIn() && showStyles(), { once: true });
  }
}

/** The id of the chosen style, or an empty text. */
export const chosenStyle = () => group.querySelector("input:checked")?.value ?? "";

export function choose(id) {
  for (const input of group.querySelectorAll("input")) input.checked = input.value === (id ?? "");
}

on("language", render);
on("signed-in", showStyles);
