// What went wrong, in words that say what to do.

import { hasWords, inTime, megabytes, t } from "./language.js";
import { settings } from "./settings.js";

/** The words for a code of the API, of Cognito or of the page itself; else what the API said. */
export const wordsFor = (code, message) =>
  hasWords(`failures.${code}`)
    ? t(`failures.${code}`, { limit: megabytes(settings.maxUploadBytes) })
    : (message ?? t("failures.unavailable"));

export class Problem extends Error {
  constructor(code, said, { status = 0, retryAfter = 0 } = {}) {
    super();
    this.code = code;
    this.said = said;
    this.retryAfter = retryAfter;
    this.isFinal = status >= 400 && status < 500 && status !== 429; // the same request would fail again
  }

  /** What to tell the user, in the language that the page has now. */
  get message() {
    const words = wordsFor(this.code, this.said);
    return this.retryAfter > 0 ? `${words} ${t("again_in", { time: inTime(this.retryAfter) })}` : words;
  }

  static async of(answer) {
    const said = await answer.json().catch(() => ({}));
    const code = said.error?.code ?? { 404: "route_not_found", 429: "busy" }[answer.status];
    const retryAfter = answer.status === 429 ? Number(answer.headers.get("retry-after")) : 0;
    return new Problem(code ?? "unavailable", said.error?.message, { status: answer.status, retryAfter });
  }
}
