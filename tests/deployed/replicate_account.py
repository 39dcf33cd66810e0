"""Replicate's account behind the stack's token: https://replicate.com/docs/reference/http."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from tests.deployed.scenarios import expect
from tests.deployed.verdict import NotJudgedError, ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.deployed.stack import Stack

MODEL = re.compile(r"(?P<model>[^/:]+/[^/:]+)(:(?P<version>.+))?")
MOST_PAGES = 20  # of 100 predictions each, newest first
STORE_IT = (
    "Store the token again, as step 2 of the README's section on the deployment says, with --overwrite if the "
    "parameter exists."
)


@dataclass
class ReplicateAccount:
    """Requests with the stack's token. None of them makes a prediction."""

    http: httpx.Client
    base_url: str
    token: str

    @classmethod
    def of(cls, stack: Stack, http: httpx.Client) -> ReplicateAccount:
        """Read the token with the operator's credentials.

        Raises:
            ProblemError: The token cannot be read or used, or it is not encrypted.
        """
        name = stack.parameters["ReplicateTokenParameter"]
        ssm = stack.client("ssm")
        try:
            found = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
        except ssm.exceptions.ParameterNotFound:
            raise ProblemError(f"There is no parameter {name}. {STORE_IT}") from None
        if found["Type"] != "SecureString":
            raise ProblemError(
                f"{name} is a {found['Type']}, so the token is not encrypted. Delete it, because its history keeps the "
                f"token: aws ssm delete-parameter --name {name}. {STORE_IT}"
            )
        token = found["Value"].strip()  # as the functions do
        if not (token and token.isascii() and token.isprintable()):
            raise ProblemError(f"{name} is empty or holds characters that no token has. {STORE_IT}")
        return cls(http, stack.parameters["ReplicateBaseUrl"].rstrip("/"), token)

    def get(self, path: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}"}
        return self.http.get(self.base_url + path, headers=headers)

    def who(self) -> str:
        """Return the name of the account.

        Raises:
            ProblemError: Replicate does not accept the token.
        """
        answer = self.get("/v1/account")
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise ProblemError(f"Replicate refuses the token. {STORE_IT}")
        expect(answer, HTTPStatus.OK, str(answer.request.url.path))
        return f"{answer.json()['type']} {answer.json()['username']}"

    def find(self, model: str) -> str:
        """Return what is known of the model.

        Raises:
            ProblemError: The model does not exist, or the token may not use it.
            NotJudgedError: A version without its model's name cannot be looked up.
        """
        named = MODEL.fullmatch(model)
        if not named:
            raise NotJudgedError(
                f"{model} is the hash of a version. Replicate finds no version without its model."
            )
        path = f"/v1/models/{named['model']}"
        answer = self.get(path + (f"/versions/{named['version']}" if named["version"] else ""))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise ProblemError(f"Replicate has no {model} for this token. Correct ReplicateModel.")
        expect(answer, HTTPStatus.OK, str(answer.request.url.path))
        return model

    def signing_secret(self) -> str:
        answer = self.get("/v1/webhooks/default/secret")
        expect(answer, HTTPStatus.OK, str(answer.request.url.path))
        return str(answer.json()["key"])

    def predictions_of(self, job_ids: Sequence[str], since: datetime) -> int:
        """Return how many predictions since then belong to one of the jobs: the input or the webhook names it."""
        found, path = 0, "/v1/predictions"
        for _ in range(MOST_PAGES):
            answer = self.get(path)
            expect(answer, HTTPStatus.OK, "GET /v1/predictions")
            page = answer.json()
            found += sum(any(job_id in json.dumps(one) for job_id in job_ids) for one in page["results"])
            last = page["results"][-1]["created_at"] if page["results"] else ""
            if not page.get("next") or not last or datetime.fromisoformat(last) < since:
                break
            following = urlsplit(page["next"])
            path = f"{following.path}?{following.query}"
        return found
