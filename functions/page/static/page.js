// The page: sign in, send photos, watch their pictures arrive, and see earlier ones.
//
// door.js       signing in                    composer.js   the form for a photo
// wall.js       the job in the frames         viewer.js     one picture in full
// earlier.js    all jobs, by day              removal.js    deleting, and undoing that
// notices.js    title and notifications       usage.js, styles.js   what the stack offers
// jobs.js       the jobs, and the watch over them           uploads.js, kept.js   photos on their way
// photo.js      a photo before it is sent     saving.js, zip.js, pictures.js      pictures
// route.js      the address                   language.js, en.json, ko.json       words
// session.js, remembered.js   the tokens      api.js, problem.js                  requests and failures
// events.js     how the parts tell each other what happened
// start.js      loads the modules before this one starts

import "./composer.js";
import "./earlier.js";
import "./notices.js";
import "./usage.js";
import "./viewer.js";
import "./wall.js";
import { leave } from "./door.js";
import { $, say } from "./dom.js";
import { emit, on } from "./events.js";
import { megabytes, start, switchLanguage, t } from "./language.js";
import { finishRemoval } from "./removal.js";
import { apply, take } from "./route.js";
import { claims, keep, signOut, signedIn } from "./session.js";
import { settings } from "./settings.js";

/** The words that depend on the stack's settings. */
function sayCounts() {
  for (const element of document.querySelectorAll("[data-say-count]")) {
    element.textContent = t(element.dataset.sayCount, { count: settings.imageCount });
  }
  say("limit", t("composer.types", { limit: megabytes(settings.maxUploadBytes) }));
  $("prompt").placeholder = t("composer.placeholder", { prompt: settings.defaultPrompt });
}

on("signed-in", () => {
  const { email, name, sub } = claims();
  say("who", email ?? name ?? sub ?? "");
  $("door").hidden = true;
  $("studio").hidden = $("account").hidden = false;
  apply();
});
on("language", sayCounts);

$("language").addEventListener("click", switchLanguage);
$("sign-out").addEventListener("click", () => {
  finishRemoval();
  signOut();
});

/**
 * Take a token from the link's fragment, which no server and no log sees, and remove it from the address bar. Only the
 * local cloud's links may hold one, and only for a visitor who is signed out: otherwise a link could sign the visitor in
 * as another user.
 */
function takeToken() {
  const token = take("token");
  if (!token || !settings.tokenInLink || signedIn()) return false;
  keep({ id: token });
  return true;
}

addEventListener("hashchange", () => {
  if (takeToken()) emit("signed-in");
});

start();
sayCounts();
takeToken();
if (signedIn()) emit("signed-in");
else leave("");
