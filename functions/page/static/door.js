// Signing in: the password, a first password, a code, a forgotten password, or a token of another issuer.

import { $, say } from "./dom.js";
import { emit, on } from "./events.js";
import { list, t } from "./language.js";
import { Problem } from "./problem.js";
import { cognito, keep, keepResult, send } from "./session.js";
import { settings } from "./settings.js";

// The pool's password policy, except for the length. A symbol is one of ASCII's, or a space between two characters.
const PASSWORD_NEEDS = {
  RequireLowercase: [/[a-z]/, "password.lower"],
  RequireUppercase: [/[A-Z]/, "password.upper"],
  RequireNumbers: [/[0-9]/, "password.digit"],
  RequireSymbols: [/[!-/:-@[-`{-~]|\S +\S/, "password.symbol"],
};

const CHALLENGES = { NEW_PASSWORD_REQUIRED: "new-password", SOFTWARE_TOKEN_MFA: "one-time-code" }; // the form of each

let challenge = null; // that the visible form answers
let forgetful = ""; // the e-mail of who resets the password

/** Throw what a new password lacks. */
function check(password, field) {
  const missing = Object.values(PASSWORD_NEEDS).flatMap(([rule, words]) => (rule.test(password) ? [] : [t(words)]));
  const { minLength } = $(field);
  if (password.length < minLength) missing.unshift(t("password.length", { length: minLength }));
  if (password !== password.trim()) missing.push(t("password.no_space"));
  if (missing.length) throw new Problem("", t("password.missing", { missing: list(missing) }));
}

function sixDigits(field) {
  const code = $(field).value.replace(/\s/g, ""); // apps show it in two groups
  if (!/^[0-9]{6}$/.test(code)) throw new Problem("", t(field === "code" ? "door.six_digits" : "door.six_digits_mail"));
  return code;
}

const signIn = async (email, password) => {
  const order = { AuthFlow: "USER_PASSWORD_AUTH", AuthParameters: { USERNAME: email, PASSWORD: password } };
  goOn(await cognito("InitiateAuth", order), email);
};

/** Sign in, or show the form of Cognito's next challenge. */
function goOn(said, user) {
  if (said.AuthenticationResult) {
    challenge = null;
    keepResult(said.AuthenticationResult);
    return emit("signed-in");
  }
  const form = CHALLENGES[said.ChallengeName];
  if (!form) throw new Problem("", t("door.unsupported"));
  challenge = { name: said.ChallengeName, session: said.Session, user: said.ChallengeParameters?.USER_ID_FOR_SRP ?? user };
  show(form);
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

const FORMS = {
  "sign-in": () => signIn($("email").value, $("password").value),
  "new-password": async () => {
    const password = $("password-new").value;
    check(password, "password-new");
    await answerChallenge({ NEW_PASSWORD: password });
  },
  "one-time-code": () => answerChallenge({ SOFTWARE_TOKEN_MFA_CODE: sixDigits("code") }),
  // The answer never tells whether this user exists.
  forgot: async () => {
    forgetful = $("forgot-email").value.trim();
    await cognito("ForgotPassword", { Username: forgetful }).catch((problem) => {
      if (problem.code === "NotAuthorizedException" || problem.code === "InvalidParameterException") {
        throw new Problem("", t("door.cannot_reset"));
      }
      if (!["UserNotFoundException", "ResourceNotFoundException"].includes(problem.code)) throw problem;
    });
    show("reset");
    say("reset-why", t("door.reset_why", { email: forgetful }));
  },
  reset: async () => {
    const [code, password] = [sixDigits("reset-code"), $("reset-password").value];
    check(password, "reset-password");
    const order = { Username: forgetful, ConfirmationCode: code, Password: password };
    await cognito("ConfirmForgotPassword", order).catch((problem) => {
      const wrong = ["CodeMismatchException", "ExpiredCodeException", "UserNotFoundException", "ResourceNotFoundException"];
      throw wrong.includes(problem.code) ? new Problem("", t("door.wrong_mail_code")) : problem;
    });
    await signIn(forgetful, password);
  },
  "paste-token": async () => {
    const pasted = $("token").value.replace(/^\s*Bearer\s/i, "");
    const id = pasted.replace(/\s/g, ""); // a terminal breaks long lines
    // Kept only when the API has accepted it, because what is kept signs in every tab.
    const answer = await send("/api/v1/jobs?limit=1", { headers: { authorization: `Bearer ${id}` } });
    if (answer.status === 401) throw new Problem("", t("door.wrong_token"));
    if (!answer.ok) throw await Problem.of(answer);
    keep({ id });
    emit("signed-in");
  },
};

// A form's button is disabled while it works, and an error appears below it.
for (const [id, work] of Object.entries(FORMS)) {
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

for (const back of document.querySelectorAll(".back")) back.addEventListener("click", () => leave(""));
$("forget").addEventListener("click", () => {
  $("forgot-email").value = $("email").value;
  show("forgot");
});

function show(id, problem = "") {
  $("studio").hidden = $("account").hidden = true;
  $("door").hidden = false;
  for (const form of $("door").querySelectorAll("form")) form.hidden = form.id !== id;
  say("door-problem", problem);
  $(id).querySelector("input, textarea").focus();
}

/** Show the first form. */
export function leave(problem) {
  challenge = null;
  for (const form of $("door").querySelectorAll("form")) form.reset();
  show(settings.clientId ? "sign-in" : "paste-token", problem);
}

on("signed-out", leave);
on("language", () => {
  say("door-problem", "");
  if (!$("reset").hidden) say("reset-why", t("door.reset_why", { email: forgetful }));
});
