// Deleting a job, with some seconds to undo it. Until then the deletion is only held back here.

import { api } from "./api.js";
import { $, say } from "./dom.js";
import { on, tellOtherTabs } from "./events.js";
import { markRemoved, restore } from "./jobs.js";
import { t } from "./language.js";
import { signedIn } from "./session.js";
import { showUsage } from "./usage.js";

const UNDO_SECONDS = 8;

let held = null; // { id, timer }

/** Take a job off the page, and delete it in some seconds. */
export function remove(id) {
  finish();
  held = { id, timer: setTimeout(finish, UNDO_SECONDS * 1000) };
  markRemoved(id);
  say("toast-text", t("removal.done"));
  $("undo").hidden = false;
  $("toast").hidden = false;
  $("undo").focus();
}

$("undo").addEventListener("click", () => {
  if (!held) return;
  const { id, timer } = held;
  clearTimeout(timer);
  held = null;
  hide();
  restore(id);
});

/** Delete the job that is held back, also while the page ends. */
async function finish() {
  if (!held) return;
  const { id, timer } = held;
  clearTimeout(timer);
  held = null;
  hide();
  try {
    await api("DELETE", `/jobs/${id}`, { keepalive: true });
  } catch (problem) {
    if (signedIn() && problem.code !== "job_not_found") {
      restore(id);
      tell(problem.message);
    }
  }
  showUsage();
  tellOtherTabs();
}

/** Say why a job was not deleted. The toast may offer to undo the next deletion by now. */
function tell(message) {
  if (held) return say("earlier-problem", message);
  say("toast-text", message);
  $("undo").hidden = true;
  $("toast").hidden = false;
  setTimeout(() => held || hide(), UNDO_SECONDS * 1000);
}

function hide() {
  const focused = $("toast").contains(document.activeElement);
  $("toast").hidden = true;
  if (focused) $($("earlier").hidden ? "title" : "earlier-title").focus({ preventScroll: true });
}

// The page may end now, and what was deleted is deleted.
addEventListener("pagehide", finish);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) finish();
});
export { finish as finishRemoval };
on("signed-out", () => {
  if (held) clearTimeout(held.timer);
  held = null;
  $("toast").hidden = true;
});
on("language", () => {
  if (held) say("toast-text", t("removal.done"));
  else hide();
});
