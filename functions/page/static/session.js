// Who is signed in: the tokens, their renewal by Cognito, and their end.

import { emit } from "./events.js";
import { Problem, wordsFor } from "./problem.js";
import { recall, remember } from "./remembered.js";
import { settings } from "./settings.js";

// localStorage, so that every tab of the browser is signed in, and a sign-out ends all of them. The session is dropped
// twelve hours after the sign-in, when its refresh token ends, even if nobody signed out.
const KEY = "triptych";
const LONGEST = 12 * 3600 * 1000; // ms
const LEFT = "left"; // is written for a moment, so that other tabs know that the user signed out

let tokens = read();

function read() {
  const text = recall(KEY);
  try {
    const kept = JSON.parse(text);
    if (kept?.id && kept.until > Date.now()) return kept;
  } catch {
    // not ours, or cut
  }
  if (text !== null) remember(KEY, null);
  return null;
}

export const signedIn = () => tokens !== null;
export const idToken = () => tokens?.id;

/** Keep the tokens of a new session, or none. */
export function keep(found) {
  tokens = found && { ...found, until: Date.now() + LONGEST };
  remember(KEY, tokens && JSON.stringify(tokens));
}

export const keepResult = ({ IdToken, RefreshToken }) => keep({ id: IdToken, refresh: RefreshToken });

/** The claims of a token. The API checks its signature. */
export function claims() {
  try {
    const part = tokens.id.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (letter) => letter.charCodeAt(0))));
  } catch {
    return {};
  }
}

addEventListener("storage", ({ key, newValue }) => {
  if (key !== KEY && key !== null) return;
  const [wasSignedIn, before] = [signedIn(), claims().sub];
  tokens = read();
  if (wasSignedIn && tokens && claims().sub === before) return;
  if (wasSignedIn) emit("signed-out", newValue === LEFT ? "" : wordsFor("signed_out"));
  if (tokens) emit("signed-in");
});

/** Wait for an answer or its body. Any failure but an abort is a lost connection. */
export const arrival = (coming) =>
  coming.catch((error) => {
    throw error.name === "AbortError" ? error : new Problem("offline");
  });

export const send = (url, options) => arrival(fetch(url, options));

export async function cognito(action, body, options = {}) {
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

// With these, Cognito ends a session. With any other, such as its throttle, a later renewal may succeed.
const ENDING = new Set([
  "InvalidParameterException",
  "NotAuthorizedException",
  "PasswordResetRequiredException",
  "ResourceNotFoundException",
  "UnsupportedOperationException",
  "UserNotConfirmedException",
  "UserNotFoundException",
]);

let renewing = null;

/** Renew the token; false if Cognito refuses. */
export function renew() {
  const refresh = tokens?.refresh;
  if (!refresh) return Promise.resolve(false);
  const order = { AuthFlow: "REFRESH_TOKEN_AUTH", AuthParameters: { REFRESH_TOKEN: refresh } };
  renewing ??= cognito("InitiateAuth", order)
    .then((said) => {
      if (tokens?.refresh !== refresh) return false; // signed out meanwhile
      const { IdToken, RefreshToken } = said.AuthenticationResult;
      tokens = { ...tokens, id: IdToken, refresh: RefreshToken ?? refresh };
      remember(KEY, JSON.stringify(tokens));
      return true;
    })
    .catch((problem) => {
      if (!ENDING.has(problem.code)) throw new Problem(problem.code); // without Cognito's own words, which are English
      return false;
    })
    .finally(() => (renewing = null));
  return renewing;
}

/** End the session here and at Cognito. keepalive, because the tab may close now. */
export function signOut() {
  const refresh = tokens?.refresh;
  remember(KEY, LEFT);
  keep(null);
  emit("signed-out", "");
  if (refresh) cognito("RevokeToken", { Token: refresh }, { keepalive: true }).catch(() => {});
}
