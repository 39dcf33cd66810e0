// Requests to the API, with the token of the session.

import { emit } from "./events.js";
import { Problem, wordsFor } from "./problem.js";
import { arrival, claims, idToken, keep, renew, send, signedIn } from "./session.js";

const SOON = 30; // s; a token that expires so soon is renewed first

export async function api(method, path, { body, headers, signal, keepalive } = {}) {
  if (signedIn() && claims().exp < Date.now() / 1000 + SOON) await renew();
  if (!signedIn()) throw new Problem("signed_out");
  const ask = () =>
    send(`/api/v1${path}`, {
      method,
      signal,
      keepalive,
      headers: { authorization: `Bearer ${idToken()}`, ...(body && { "content-type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
    });
  let answer = await ask();
  if (answer.status === 401 && (await renew())) answer = await ask();
  if (answer.status === 401) {
    keep(null);
    emit("signed-out", wordsFor("signed_out"));
    throw new Problem("signed_out");
  }
  if (!answer.ok && answer.status !== 304) throw await Problem.of(answer);
  return answer;
}

/** Read an answer's JSON. */
export const jsonOf = (answer) => arrival(answer.json());

export const getJob = async (id, options) => jsonOf(await api("GET", `/jobs/${id}`, options));
