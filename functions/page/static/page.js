// The page: sign in, send a photo, watch its pictures arrive, and see earlier ones.

import { chosenStyle, showStyles } from "./styles.js";

const settings = JSON.parse(document.querySelector("meta[name=triptych]").content);
const $ = (id) => document.getElementById(id);

const ENDED = new Set(["SUCCEEDED", "PARTIAL", "FAILED", "CANCELED", "EXPIRED"]);
const NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
const NUMERALS = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"];
const POLL_SECONDS = 2; // if the API names no Retry-After
const JOBS_A_PAGE = 6;
const FULL_MEGABYTE = 1048576; // bytes
const ACTIVE_SECONDS = 10; // until the page asks again whether a job has ended elsewhere

// ── failures, in words that say what to do ──

const WORDS = {
  ...settings.words, // of the API's failures
  photo_too_large: settings.words.photo_too_large.replace("{limit}", megabytes(settings.maxUploadBytes)),
  offline: "There is no connection. Check it, and try again.",
  upload_failed: "The photo could not be sent. Try again.",
  unavailable: "This did not work. Try again in a moment.",
  busy: "There are too many requests. Try again in a moment.",
  signed_out: "Your sign-in has ended. Sign in again.",
  NotAuthorizedException: "The e-mail or the password is wrong.",
  UserNotFoundException: "The e-mail or the password is wrong.",
  PasswordResetRequiredException: "Your password must be reset first. Ask the operator.",
  TooManyRequestsException: "Too many attempts. Wait a minute, and try again.",
  InvalidPasswordException: "This password is not allowed. Choose one that follows the rule.",
  CodeMismatchException: "This code is wrong. Enter the one that your app shows now.",
  ExpiredCodeException: "This code was used before or is too old. Wait for the next code in your app.",
  sign_in_too_slow: "Signing in took too long. Sign in again.",
};

class Problem extends Error {
  constructor(code, message, { status = 0, retryAfter = 0 } = {}) {
    super(WORDS[code] ?? message ?? WORDS.unavailable);
    this.code = code;
    this.isFinal = status >= 400 && status < 500 && status !== 429; // the same request would fail again
    if (retryAfter > 0) this.message += ` It is possible again ${inTime(retryAfter)}.`;
  }

  static async of(answer) {
    const said = await answer.json().catch(() => ({}));
    const code = said.error?.code ?? { 404: "route_not_found", 429: "busy" }[answer.status];
    const retryAfter = answer.status === 429 ? Number(answer.headers.get("retry-after")) : 0;
    return new Problem(code ?? "unavailable", said.error?.message, { status: answer.status, retryAfter });
  }
}

function megabytes(bytes) {
  const number = bytes / FULL_MEGABYTE;
  return `${number >= 10 ? Math.round(number) : Number(number.toPrecision(2))} MB`;
}

function inTime(seconds) {
  const unit = seconds < 90 ? "second" : seconds < 5400 ? "minute" : "hour";
  const count = Math.ceil(seconds / { second: 1, minute: 60, hour: 3600 }[unit]);
  return new Intl.RelativeTimeFormat("en").format(count, unit);
}

// ── signing in ──

// Kept for this tab only. localStorage would keep it after the visit, also on a shared computer. Memory alone would lose
// it at a reload.
let tokens = JSON.parse(sessionStorage.getItem("triptych"));

function keep(found) {
  tokens = found;
  if (found) sessionStorage.setItem("triptych", JSON.stringify(found));
  else sessionStorage.removeItem("triptych");
}

/** The claims of a token. The API checks its signature. */
function claims(token) {
  try {
    const bytes = Uint8Array.from(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

async function send(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem("offline");
  }
}

async function cognito(action, body, options = {}) {
  const answer = await send(settings.cognito, {
    method: "POST",
    ...options,
    headers: {
      "content-type": "application/x-amz-json-1.1",
      "x-amz-target": `AWSCognitoIdentityProviderService.${action}`,
    },
    body: JSON.stringify({ ClientId: settings.clientId, ...body }),
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(said.__type?.split("#").pop(), said.message);
  return said;
}

function keepResult({ IdToken, RefreshToken }) {
  keep({ id: IdToken, refresh: RefreshToken ?? tokens?.refresh });
}

let renewing = null;

/** Renew the token; false if that is not possible. */
function renew() {
  const refresh = tokens?.refresh;
  if (!refresh) return Promise.resolve(false);
  const order = { AuthFlow: "REFRESH_TOKEN_AUTH", AuthParameters: { REFRESH_TOKEN: refresh } };
  renewing ??= cognito("InitiateAuth", order)
    .then((said) => {
      if (tokens?.refresh !== refresh) return false; // signed out meanwhile
      keepResult(said.AuthenticationResult);
      return true;
    })
    .catch((problem) => {
      if (problem.code === "offline") throw problem;
      return false;
    })
    .finally(() => (renewing = null));
  return renewing;
}

// The pool's password policy, except for the length. A symbol is one of ASCII's, or a space between two characters.
const PASSWORD_NEEDS = {
  RequireLowercase: [/[a-z]/, "a lower-case letter"],
  RequireUppercase: [/[A-Z]/, "an upper-case letter"],
  RequireNumbers: [/[0-9]/, "a digit"],
  RequireSymbols: [/[!-/:-@[-`{-~]|\S +\S/, "a symbol"],
};

/** What a new password lacks, as text; empty if nothing. */
function lacking(password) {
  const missing = Object.values(PASSWORD_NEEDS).flatMap(([rule, words]) => (rule.test(password) ? [] : [words]));
  const { minLength } = $("password-new");
  if (password.length < minLength) missing.unshift(`at least ${minLength} characters`);
  if (password !== password.trim()) missing.push("no space at either end");
  return new Intl.ListFormat("en").format(missing);
}

const CHALLENGES = { NEW_PASSWORD_REQUIRED: "new-password", SOFTWARE_TOKEN_MFA: "one-time-code" }; // the form of each

// The challenge that the visible form answers.
let challenge = null;

onSubmit("sign-in", async () => {
  const [email, password] = [$("email").value, $("password").value];
  const order = { AuthFlow: "USER_PASSWORD_AUTH", AuthParameters: { USERNAME: email, PASSWORD: password } };
  goOn(await cognito("InitiateAuth", order), email);
});

onSubmit("new-password", async () => {
  const password = $("password-new").value;
  const missing = lacking(password);
  if (missing) throw new Problem("", `Your new password still needs ${missing}.`);
  await answerChallenge({ NEW_PASSWORD: password });
});

onSubmit("one-time-code", async () => {
  const code = $("code").value.replace(/\s/g, ""); // apps show it in two groups
  if (!/^[0-9]{6}$/.test(code)) throw new Problem("", "The code has six digits. Enter the one that your app shows now.");
  await answerChallenge({ SOFTWARE_TOKEN_MFA_CODE: code });
});

for (const back of document.querySelectorAll(".back")) back.addEventListener("click", () => leave(""));

onSubmit("paste-token", async () => {
  keep({ id: $("token").value.trim().replace(/^Bearer\s+/i, "") });
  await api("GET", "/jobs?limit=1").catch((problem) => {
    throw problem.code === "signed_out" ? new Problem("", "This token is not accepted. Paste another one.") : problem;
  });
  enter();
});

/** Sign in, or show the form of Cognito's next challenge. */
function goOn(said, user) {
  if (said.AuthenticationResult) {
    challenge = null;
    keepResult(said.AuthenticationResult);
    return enter();
  }
  const form = CHALLENGES[said.ChallengeName];
  if (!form) throw new Problem("", "This account needs a step that this page does not support. Ask the operator.");
  challenge = { name: said.ChallengeName, session: said.Session, user: said.ChallengeParameters?.USER_ID_FOR_SRP ?? user };
  showDoor(form);
}

async function answerChallenge(responses) {
  const answered = challenge;
  const { name, session, user } = answered;
  const order = { ChallengeName: name, Session: session, ChallengeResponses: { USERNAME: user, ...responses } };
  const said = await cognito("RespondToAuthChallenge", order).catch((problem) => {
    if (challenge !== answered) return;
    if (problem.code !== "NotAuthorizedException") throw problem;
    leave(""); // a challenge is valid for some minutes only
    throw new Problem("sign_in_too_slow");
  });
  if (challenge === answered) goOn(said, user); // otherwise the visitor went back meanwhile
}

/** Handle a sign-in form. Its button is disabled meanwhile, and an error appears below it. */
function onSubmit(id, work) {
  $(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = $(id).querySelector("button");
    say("door-problem", "");
    button.disabled = true;
    try {
      await work();
    } catch (problem) {
      say("door-problem", problem.message);
      [...$(id).querySelectorAll("input, textarea")].at(-1).select();
    } finally {
      button.disabled = false;
    }
  });
}

function showDoor(id, problem = "") {
  $("studio").hidden = $("account").hidden = true;
  $("door").hidden = false;
  for (const form of $("door").querySelectorAll("form")) form.hidden = form.id !== id;
  say("door-problem", problem);
  $(id).querySelector("input, textarea").focus();
}

function leave(problem) {
  keep(null);
  challenge = null;
  stopWatching();
  for (const form of $("door").querySelectorAll("form")) form.reset();
  showDoor(settings.clientId ? "sign-in" : "paste-token", problem);
}

$("sign-out").addEventListener("click", () => {
  const refresh = tokens?.refresh;
  history.replaceState(null, "", "/");
  clearStudio();
  leave("");
  // Cognito ends the session too. keepalive, because the tab may close now.
  if (refresh) cognito("RevokeToken", { Token: refresh }, { keepalive: true }).catch(() => {});
});

// ── the API ──

async function api(method, path, { body, headers, signal } = {}) {
  const soon = Date.now() / 1000 + 30;
  if (tokens && claims(tokens.id).exp < soon) await renew();
  if (!tokens) throw new Problem("signed_out");
  const ask = () =>
    send(`/api/v1${path}`, {
      method,
      signal,
      headers: { authorization: `Bearer ${tokens.id}`, ...(body && { "content-type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
    });
  let answer = await ask();
  if (answer.status === 401 && (await renew())) answer = await ask();
  if (answer.status === 401) {
    leave(WORDS.signed_out);
    throw new Problem("signed_out");
  }
  if (!answer.ok && answer.status !== 304) throw await Problem.of(answer);
  return answer;
}

const getJob = async (id) => (await api("GET", `/jobs/${id}`)).json();

/** Upload the photo; resolves to S3's status. XMLHttpRequest, because fetch reports no upload progress. */
function put({ method, url, headers }, photo, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    for (const [name, value] of Object.entries(headers)) {
      if (name.toLowerCase() !== "content-length") request.setRequestHeader(name, value); // the browser sets that one
    }
    request.upload.addEventListener("progress", ({ loaded, total }) => showUpload((100 * loaded) / total));
    request.addEventListener("load", () => resolve(request.status));
    request.addEventListener("error", () => reject(new Problem("offline")));
    request.addEventListener("abort", () => reject(signal.reason));
    signal.addEventListener("abort", () => request.abort());
    request.send(photo);
  });
}

// ── a photo is chosen, and sent ──

let photo = null;
let order = null; // the last request that did not succeed: repeating it returns the same job
let sending = null; // AbortController of the running upload

for (const input of [$("file"), $("camera")]) {
  input.addEventListener("change", () => {
    if (input.files.length) choose(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
}

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // outside the frame, the browser would open the photo instead of this page
    const inside = $("drop").contains(event.target);
    $("drop").classList.toggle("over", inside && (kind === "dragenter" || kind === "dragover"));
    if (kind === "drop" && inside && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  });
}

async function choose(file) {
  say("problem", "");
  try {
    if (!$("file").accept.split(",").includes(kindOf(file))) throw new Problem("photo_unsupported");
    if (file.size > settings.maxUploadBytes) throw new Problem("photo_too_large");
    await showPreview(file);
    photo = file;
  } catch (problem) {
    say("problem", problem.message);
  }
  enableMake();
  if (photo) $("make").focus();
}

function enableMake() {
  $("make").disabled = !photo || sending !== null || full;
}

// Some systems do not know the type of .heic.
function kindOf(file) {
  const [, extension] = /\.(heic|heif)$/i.exec(file.name) ?? [];
  return file.type || (extension ? `image/${extension.toLowerCase()}` : "");
}

async function showPreview(file) {
  const preview = $("preview");
  const next = new Image();
  next.src = URL.createObjectURL(file);
  try {
    await next.decode();
  } catch {
    URL.revokeObjectURL(next.src);
    if (!kindOf(file).startsWith("image/hei")) throw new Problem("photo_unsupported");
    // Few browsers can show HEIC, so show the file's name.
    removePreview();
    $("chosen").textContent = file.name;
    return;
  }
  $("chosen").textContent = "";
  URL.revokeObjectURL(preview.src);
  preview.src = next.src;
  preview.hidden = $("other").hidden = false;
  $("invitation").hidden = true;
}

$("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (sending || !photo) return;
  const prompt = $("prompt").value.trim();
  const style = chosenStyle();
  if (order?.photo !== photo || order.prompt !== prompt || order.style !== style) {
    order = { photo, prompt, style, key: crypto.randomUUID() };
  }
  say("problem", "");
  sending = new AbortController();
  enableMake();
  try {
    await make(order, sending);
    order = null;
  } catch (problem) {
    if (shown && shown.job_id === sending.jobId) showEmpty();
    if (problem.name === "AbortError") {
      order = null; // repeating it would return the cancelled job
    } else {
      say("problem", problem.message);
    }
  } finally {
    sending = null;
    showUpload(null);
    enableMake();
    showUsage();
    if ($("problem").textContent) $("make").focus();
  }
});

async function make({ photo, prompt, style, key }, sending) {
  const { signal } = sending;
  const body = { content_type: kindOf(photo), content_length: photo.size, ...(prompt && { prompt }), ...(style && { style }) };
  const answer = await api("POST", "/jobs", { body, headers: { "idempotency-key": key }, signal });
  const { job_id, status, upload } = await answer.json();
  sending.jobId = job_id;
  showUsage();
  stopWatching();
  history.replaceState(null, "", `#job=${job_id}`);
  setRatio($("preview"));
  show({ job_id, status, prompt: prompt || null, images: emptyImages(), error: null });
  goTo("work-title");
  if (status === "AWAITING_UPLOAD") {
    showUpload(0);
    const said = await put(upload, photo, signal);
    // 412: an earlier upload has arrived, and its answer was lost.
    if (said !== 412 && (said < 200 || said > 299)) throw new Problem("upload_failed");
  }
  if (shown?.job_id === job_id) watch(job_id);
  else list(); // another job was opened meanwhile
}

// ── what may still be made today ──

let full = false; // the next request would exceed a limit
let askingAgain = null; // timer

/** Say how many pictures are left, or why none can be made now: before a photo is sent, not after. */
async function showUsage() {
  const asker = owner;
  let usage;
  try {
    usage = await (await api("GET", "/usage")).json();
  } catch {
    return; // the API refuses what exceeds a limit, whatever this line says
  }
  if (asker !== owner || !tokens) return; // signed out meanwhile
  const left = usage.daily_pictures === null ? Infinity : Math.max(0, usage.daily_pictures - usage.pictures_today);
  const turn = new Date(usage.day_ends_at);
  const busy = usage.max_active_jobs !== null && usage.active_jobs >= usage.max_active_jobs;
  full = busy || left < settings.imageCount;
  enableMake();
  say("usage", usageSentence(left, turn, busy));
  clearTimeout(askingAgain);
  askingAgain = setTimeout(showUsage, Math.max(1000, busy ? ACTIVE_SECONDS * 1000 : turn - Date.now()));
}

function usageSentence(left, turn, busy) {
  const at = new Intl.DateTimeFormat("en", { timeStyle: "short" }).format(turn);
  const some = `${left.toLocaleString("en")} more ${left === 1 ? "picture" : "pictures"}`;
  if (!left) return `${WORDS.daily_limit_reached} You can make more from ${at}.`;
  if (left < settings.imageCount) return `Only ${some} can be made today, too few for a photo. You can make more from ${at}.`;
  if (busy) return WORDS.too_many_active_jobs;
  return left === Infinity ? "" : `You can make ${some} today. The day ends at ${at}.`;
}

function showUpload(percent) {
  const uploading = percent !== null;
  $("upload").classList.toggle("going", uploading);
  $("bar").value = percent ?? 0;
  say("percent", uploading ? `${Math.floor(percent)} %` : "");
}

// ── the job on the wall ──

let shown = null; // the job in the frames
const usedUp = new Set(); // ids of jobs that have no retries left
let watching = null; // AbortController

function stopWatching() {
  watching?.abort();
  watching = null;
}

/** Poll a job until it ends or another one is shown. Pauses while the page is hidden. */
async function watch(id) {
  stopWatching();
  const { signal } = (watching = new AbortController());
  let etag = null;
  let misses = 0;
  while (!signal.aborted) {
    let wait = POLL_SECONDS;
    try {
      await untilVisible();
      const answer = await api("GET", `/jobs/${id}`, { signal, headers: etag && { "if-none-match": etag } });
      etag = answer.headers.get("etag");
      wait = Number(answer.headers.get("retry-after")) || POLL_SECONDS;
      misses = 0;
      if (answer.status !== 304) {
        const job = await answer.json();
        if (signal.aborted) return;
        show(job);
        if (ENDED.has(job.status)) return void list();
      }
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.isFinal) return showEmpty(problem.message);
      say("status", problem.message);
      wait = POLL_SECONDS * 2 ** Math.min(++misses, 4);
    }
    await new Promise((resolve) => setTimeout(resolve, wait * 1000));
  }
}

function untilVisible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

function show(job) {
  shown = job;
  const frames = $("frames");
  while (frames.children.length > job.images.length) frames.lastChild.remove();
  while (frames.children.length < job.images.length) frames.append(newFrame(frames.children.length));
  job.images.forEach((image, index) => {
    const frame = frames.children[index];
    frame.dataset.status = job.status === "AWAITING_UPLOAD" ? "EMPTY" : image.status;
    say(frame.querySelector(".caption"), caption(job, image));
    frame.querySelector(".download").hidden = frame.querySelector(".again").hidden = !image.url;
    hang(frame.querySelector("img"), job, image, `Picture ${index + 1} of ${job.images.length}${job.prompt ? `: ${job.prompt}` : ""}`);
  });
  say("status", sentence(job));
  const ended = ENDED.has(job.status);
  const failed = job.images.filter((image) => image.status === "FAILED").length;
  const retryable = ["FAILED", "PARTIAL"].includes(job.status) && !settings.notRetryable.includes(job.error?.code);
  $("retry").hidden = !retryable || usedUp.has(job.job_id);
  say("retry", failed === 1 ? "Try the failed one again" : `Try the failed ${NUMBERS[failed]} again`);
  $("cancel").hidden = ended;
  $("delete").hidden = !ended;
}

function showEmpty(why = `${upper(NUMBERS[settings.imageCount])} ${settings.imageCount === 1 ? "frame" : "frames"}, still empty.`) {
  stopWatching();
  if (location.hash) history.replaceState(null, "", "/");
  show({ job_id: null, status: "AWAITING_UPLOAD", prompt: null, images: emptyImages(), error: null });
  shown = null;
  say("status", why);
  $("cancel").hidden = true;
}

const emptyImages = () =>
  Array.from({ length: settings.imageCount }, (_, index) => ({ index, status: "PENDING", url: null, error: null }));

function sentence({ job_id, status, images, error }) {
  const total = images.length;
  const ready = images.filter((image) => image.status === "STORED").length;
  const are = (count) => (count === 1 ? "picture is" : "pictures are");
  switch (status) {
    case "AWAITING_UPLOAD":
      return job_id ? "The photo is on its way." : "";
    case "GENERATING":
      return ready
        ? `${upper(NUMBERS[ready])} of ${NUMBERS[total]} ${are(ready)} ready.`
        : `${upper(NUMBERS[total])} ${are(total)} being drawn.`;
    case "SUCCEEDED":
      return total === 1 ? "The picture is ready." : `All ${NUMBERS[total]} pictures are ready.`;
    case "PARTIAL":
      return `${upper(NUMBERS[ready])} of ${NUMBERS[total]} ${are(ready)} ready; the rest could not be made.`;
    case "CANCELED":
      return ready ? "Cancelled. Finished pictures are kept." : "Cancelled.";
    default:
      return error ? new Problem(error.code, error.message).message : WORDS.unavailable;
  }
}

function caption(job, image) {
  switch (image.status) {
    case "STORED":
      return `Picture ${NUMERALS[image.index]}`;
    case "FAILED":
      return image.error ? new Problem(image.error.code, image.error.message).message : WORDS.prediction_failed;
    case "CANCELED":
      return job.status === "EXPIRED" ? "Not started" : "Cancelled";
    case "GENERATING":
      return "Being drawn";
    default:
      return job.status === "GENERATING" ? "Waiting" : "\u00a0";
  }
}

const pictures = (count) => `${NUMBERS[count]} ${count === 1 ? "picture" : "pictures"}`;
const upper = (text) => text[0].toUpperCase() + text.slice(1);

function newFrame(index) {
  const frame = $("frame").content.firstElementChild.cloneNode(true);
  say(frame.querySelector(".numeral"), NUMERALS[index]);
  const img = frame.querySelector("img");
  img.addEventListener("load", () => setRatio(img));
  const link = frame.querySelector(".download");
  link.addEventListener("click", (event) => {
    event.preventDefault();
    download(shown, index).catch((problem) => say("status", problem.message));
  });
  const again = frame.querySelector(".again");
  again.addEventListener("click", async () => {
    again.disabled = true;
    try {
      const answer = await api("POST", `/jobs/${shown.job_id}/images/${index}/again`);
      open((await answer.json()).job_id);
      goTo("work-title");
      showUsage();
    } catch (problem) {
      say("status", problem.message);
    } finally {
      again.disabled = false;
    }
  });
  return frame;
}

/** Give the frames the shape of their pictures. */
function setRatio({ naturalWidth, naturalHeight }) {
  if (naturalWidth && naturalHeight) {
    $("frames").style.setProperty("--ratio", Math.min(Math.max(naturalWidth / naturalHeight, 0.6), 1.9));
  }
}

/** Show a picture, or its preview. One that is already shown is not loaded again, although its URL changes. */
function hang(img, job, image, alt, link = "url") {
  const key = image.status === "STORED" ? `${job.job_id} ${image.index} ${image.prediction_id}` : "";
  if ((img.dataset.key ?? "") === key) return;
  img.dataset.key = key;
  img.classList.remove("there");
  img.alt = key && alt;
  if (!key) return img.removeAttribute("src");
  let renewed = false;
  img.onload = () => {
    img.classList.add("there");
    renewed = false;
  };
  img.onerror = async () => {
    img.classList.remove("there");
    // A presigned URL is valid for some minutes only.
    if (renewed || img.dataset.key !== key) return;
    renewed = true;
    const url = await freshUrl(job.job_id, image.index, link).catch(() => null);
    if (url && img.dataset.key === key) img.src = url;
  };
  img.style.backgroundColor = image.color ?? ""; // until it has loaded
  if (image[link]) img.src = image[link];
  else img.onerror(); // a picture without a preview
}

/** Ask for a new link to a picture. One that has no preview is shown itself. */
async function freshUrl(id, index, link = "url") {
  const image = (await getJob(id)).images[index];
  return image[link] ?? image.url;
}

/** Save a picture. It is fetched first, because a browser opens a link to another origin instead of saving it. */
async function download(job, index) {
  let answer = await send(job.images[index].url).catch(() => null);
  if (!answer?.ok) answer = await send(await freshUrl(job.job_id, index));
  if (!answer.ok) throw new Problem("unavailable");
  const blob = await answer.blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `triptych-${job.job_id.slice(0, 8)}-${index + 1}.${blob.type.split("/")[1]?.replace("jpeg", "jpg") ?? "png"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

for (const [id, act] of Object.entries({
  retry: async (job) => {
    try {
      await api("POST", `/jobs/${job.job_id}/retry`);
    } catch (problem) {
      if (["retry_limit_reached", "nothing_to_retry"].includes(problem.code)) {
        usedUp.add(job.job_id);
        show(job);
      }
      throw problem;
    }
    watch(job.job_id);
    showUsage();
  },
  cancel: async (job) => {
    if (sending?.jobId === job.job_id) sending.abort();
    stopWatching();
    show(await (await api("POST", `/jobs/${job.job_id}/cancel`)).json());
    list();
  },
  delete: remove,
})) {
  $(id).addEventListener("click", async () => {
    const job = shown;
    $(id).disabled = true;
    try {
      await act(job);
      if ($(id).hidden) $("work-title").focus();
    } catch (problem) {
      say("status", problem.message);
      if (shown?.job_id === job.job_id && !watching && !ENDED.has(job.status)) watch(job.job_id);
    } finally {
      $(id).disabled = false;
    }
  });
}

async function remove(job) {
  if (!(await sure())) return;
  try {
    await api("DELETE", `/jobs/${job.job_id}`);
  } catch (problem) {
    if (problem.code !== "job_not_found") throw problem; // already deleted
  }
  removed.add(job.job_id);
  if (shown?.job_id === job.job_id) showEmpty("Deleted.");
  await list();
  $(cards.size ? "earlier-title" : "work-title").focus();
}

function sure() {
  const dialog = $("sure");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

$("sure-yes").addEventListener("click", () => $("sure").close("yes"));
$("sure-no").addEventListener("click", () => $("sure").close(""));

// ── earlier jobs ──

const cards = new Map(); // by job id
const removed = new Set(); // job ids: a list may still hold jobs that were just deleted
let cursor = null; // of the next page

const STATES = {
  AWAITING_UPLOAD: "Waiting for its photo",
  GENERATING: "Being drawn",
  SUCCEEDED: "",
  PARTIAL: "Not all could be made",
  FAILED: "Could not be made",
  CANCELED: "Cancelled",
  EXPIRED: "The photo did not arrive",
};

async function list(from = null) {
  if (!from) showUsage();
  try {
    const query = new URLSearchParams({ limit: JOBS_A_PAGE, ...(from && { cursor: from }) });
    const page = await (await api("GET", `/jobs?${query}`)).json();
    const jobs = page.jobs.filter((job) => !removed.has(job.job_id));
    if (!from) {
      const ids = new Set(jobs.map((job) => job.job_id));
      for (const [id, card] of cards) if (!ids.has(id)) (card.remove(), cards.delete(id));
    }
    jobs.forEach((job, index) => {
      const card = cards.get(job.job_id) ?? newCard(job.job_id);
      fillCard(card, job);
      if (from) $("jobs").append(card);
      else if ($("jobs").children[index] !== card) $("jobs").insertBefore(card, $("jobs").children[index] ?? null);
    });
    cursor = page.cursor;
    $("more").hidden = !cursor;
    $("earlier").hidden = !cards.size;
  } catch (problem) {
    if (problem.code !== "signed_out") say("status", problem.message);
  }
}

$("more").addEventListener("click", async () => {
  const last = $("jobs").lastElementChild;
  await list(cursor);
  last?.nextElementSibling?.querySelector("button").focus();
});

function newCard(id) {
  const card = $("card").content.firstElementChild.cloneNode(true);
  cards.set(id, card);
  card.querySelector(".open").addEventListener("click", () => {
    setRatio(card.querySelector("img.there") ?? {});
    open(id);
    goTo("work-title");
  });
  card.querySelector(".remove").addEventListener("click", () =>
    remove({ job_id: id }).catch((problem) => say("status", problem.message)),
  );
  return card;
}

function fillCard(card, job) {
  const when = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" }).format(new Date(job.created_at));
  const strip = card.querySelector(".strip");
  while (strip.children.length > job.images.length) strip.lastChild.remove();
  while (strip.children.length < job.images.length) {
    const img = new Image();
    img.crossOrigin = "anonymous";
    img.loading = "lazy";
    strip.append(document.createElement("span"));
    strip.lastChild.append(img);
  }
  job.images.forEach((image, index) => hang(strip.children[index].firstChild, job, image, "", "preview_url"));
  say(card.querySelector(".when"), when);
  say(card.querySelector(".state"), STATES[job.status] ?? job.status);
  card.querySelector(".open").setAttribute("aria-label", `Show the pictures of ${when}`);
  card.querySelector(".remove").setAttribute("aria-label", `Delete the pictures of ${when}`);
  card.querySelector(".remove").hidden = !ENDED.has(job.status);
}

function open(id) {
  history.replaceState(null, "", `#job=${id}`);
  watch(id);
}

// ── helpers, and the start ──

/** Set a text only if it changes, because a screen reader reads each change. */
function say(where, text) {
  const element = typeof where === "string" ? $(where) : where;
  if (element.textContent !== text) element.textContent = text;
}

function goTo(id) {
  $(id).focus({ preventScroll: true });
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  $(id).closest("section").scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
}

let owner = null; // the user whose jobs are shown

function removePreview() {
  URL.revokeObjectURL($("preview").src);
  $("preview").removeAttribute("src");
  $("preview").hidden = $("other").hidden = true;
  $("invitation").hidden = false;
  $("chosen").textContent = "";
}

function clearStudio() {
  sending?.abort();
  photo = order = null;
  $("composer").reset();
  removePreview();
  for (const card of cards.values()) card.remove();
  cards.clear();
  $("earlier").hidden = true;
  say("problem", "");
  full = false;
  clearTimeout(askingAgain);
  say("usage", "");
  showEmpty();
}

function enter() {
  const { email, name, sub } = claims(tokens.id);
  const job = new URLSearchParams(location.hash.slice(1)).get("job");
  if (sub !== owner) clearStudio(); // another user's jobs are shown
  owner = sub;
  say("who", email ?? name ?? sub ?? "");
  $("door").hidden = true;
  $("studio").hidden = $("account").hidden = false;
  list();
  showStyles(api);
  if (job) open(job);
}

/**
 * Take a token from the link's fragment, which no server and no log sees, and remove it from the address bar. Only the
 * local cloud's links may hold one, and only for a visitor who is signed out: otherwise a link could sign the visitor in
 * as another user.
 */
function takeToken() {
  const behind = new URLSearchParams(location.hash.slice(1));
  if (!behind.has("token")) return false;
  const token = behind.get("token");
  behind.delete("token");
  history.replaceState(null, "", behind.size ? `#${behind}` : "/");
  if (!token || !settings.tokenInLink || tokens) return false;
  keep({ id: token });
  return true;
}

addEventListener("hashchange", () => {
  if (takeToken()) enter();
});

for (const element of document.querySelectorAll(".count")) say(element, pictures(settings.imageCount));
say("limit", `, up to ${megabytes(settings.maxUploadBytes)}`);
$("prompt").placeholder = settings.defaultPrompt;
takeToken();
if (tokens) enter();
else leave("");
