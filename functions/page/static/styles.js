// The styles that an order may name, as a group of radio buttons with pictures.

const group = document.getElementById("styles");

function choice({ id, name, description, preview }) {
  const label = document.getElementById("style").content.firstElementChild.cloneNode(true);
  const input = label.querySelector("input");
  const img = label.querySelector("img");
  input.value = id;
  input.checked = !id;
  label.querySelector("span").textContent = name;
  label.title = description;
  // Only this stack's own pictures: the page loads nothing from elsewhere.
  if (preview?.startsWith("/")) img.src = preview;
  else img.remove();
  return label;
}

/** Show the styles of the stack. Without any, the page works as before. */
export async function showStyles(api) {
  if (group.querySelector("input")) return;
  try {
    const { styles } = await (await api("GET", "/styles")).json();
    const none = { id: "", name: "None", description: "Only your own words." };
    group.querySelector(".choices").replaceChildren(...[none, ...styles].map(choice));
    group.hidden = false;
  } catch {
    group.hidden = true;
  }
}

/** Return the id of the chosen style, or an empty text. */
export function chosenStyle() {
  return group.querySelector("input:checked")?.value ?? "";
}
