"""Load the function that serves the page, and call it."""

from __future__ import annotations

import base64
import importlib
import json
from types import ModuleType
from typing import Any

import pytest

from tests.environment import ROOT

ENVIRONMENT = {
    "BUCKET_URL": "https://photos.s3.eu-west-1.amazonaws.com",
    "COGNITO_URL": "https://cognito-idp.eu-west-1.amazonaws.com",
    "COGNITO_CLIENT_ID": "client",
    "IMAGE_COUNT": "3",
    "MAX_UPLOAD_BYTES": "1000",
    "MAX_PHOTO_EDGE": "2048",
    "DEFAULT_PROMPT": """Say "cheese" & <smile>, it's $5.""",
}
EVENT = json.loads((ROOT / "functions/page/event.json").read_text())


def page_with(monkeypatch: pytest.MonkeyPatch, **environment: str) -> ModuleType:
    """Reload the module with this environment."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    for name, value in (ENVIRONMENT | environment).items():
        monkeypatch.setenv(name, value)
    return importlib.reload(importlib.import_module("page"))


def get(page: ModuleType, path: str, **headers: str) -> dict[str, Any]:
    """Return the function's answer, with its body as text."""
    path, _, query = path.partition("?")
    answer = dict(page.handler({**EVENT, "rawPath": path, "rawQueryString": query, "headers": headers}, None))
    return {**answer, "body": text_of(answer)} if "body" in answer else answer


def answer_of(page: ModuleType, target: str) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Return status, headers and body of the function's answer to a browser that keeps nothing, as HTTP sends it."""
    path, _, query = target.partition("?")
    answer = page.handler({**EVENT, "rawPath": path, "rawQueryString": query, "headers": {}}, None)
    body = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else answer["body"].encode()
    return answer["statusCode"], tuple(answer["headers"].items()), body


def text_of(answer: dict[str, Any]) -> str:
    """Return the body of an answer as text."""
    if not answer.get("isBase64Encoded"):
        return str(answer["body"])
    return base64.b64decode(answer["body"]).decode(errors="replace")


def policy(page: ModuleType) -> dict[str, str]:
    header = get(page, "/")["headers"]["Content-Security-Policy"]
    return dict(directive.split(" ", 1) for directive in header.split("; "))
