// What the server told the page about this stack.

export const settings = JSON.parse(document.querySelector("meta[name=triptych]").content);

/** The states in which a job stays, unless its owner retries it. */
export const ENDED = new Set(["SUCCEEDED", "PARTIAL", "FAILED", "CANCELED", "EXPIRED"]);

export const LONGEST_PROMPT = 2000; // characters
