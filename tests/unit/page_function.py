"""Load the function that serves the page, and call it."""

from __future__ import annotations

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
    return dict(page.handler({**EVENT, "rawPath": path, "headers": headers}, None))


def policy(page: ModuleType) -> dict[str, str]:
    header = get(page, "/")["headers"]["Content-Security-Policy"]
    return dict(directive.split(" ", 1) for directive in header.split("; "))
