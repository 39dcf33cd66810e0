// Load the page's stylesheet, if it did not come, and its modules, a few at a time, then start page.js. A new AWS account
// runs ten functions at once, each file is one invocation, and the page stays empty if a single module is refused.

const AT_ONCE = 3; // files
const PAUSES = [1, 2, 4, 8, 16, 32]; // s, each after a failed request for the same file

const files = document.querySelector('meta[name="modules"]').content.split(" ");

const notLoaded = document.getElementById("not-loaded");
notLoaded.hidden = true;
notLoaded.classList.remove("late");

async function arrives(file) {
  try {
    const answer = await fetch(file);
    await answer.arrayBuffer(); // the browser keeps only a file that it has read to its end
    return answer.ok;
  } catch {
    return false; // no connection
  }
}

/** Bring a file into the browser's cache, where the import finds it. */
async function load(file) {
  for (const seconds of PAUSES) {
    if (await arrives(file)) return;
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
  if (!(await arrives(file))) throw new Error(`${file} could not be loaded.`);
}

async function loadInTurn() {
  while (files.length) await load(files.shift());
}

/** Load the stylesheet again, unless it came. */
async function loadStyles() {
  if (getComputedStyle(document.body).getPropertyValue("--wall")) return;
  const link = document.querySelector("link[rel=stylesheet]");
  await load(link.href);
  link.replaceWith(link.cloneNode());
}

try {
  await loadStyles();
  await Promise.all(Array.from({ length: AT_ONCE }, loadInTurn));
  await import(`./page.js${new URL(import.meta.url).search}`);
} catch (error) {
  notLoaded.hidden = false;
  throw error; // for the console
}
