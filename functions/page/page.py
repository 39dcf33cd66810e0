"""Serve the page: static files, and the settings of this stack."""

from __future__ import annotations

import hashlib
import html
import json
import os
from http import HTTPStatus
from pathlib import Path
from string import Template
from typing import NamedTuple

from words import NOT_FOUND, NOT_RETRYABLE, WORDS

FOLDER = Path(__file__).parent / "static"
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# The local cloud serves all of AWS at one address. boto3 reads the same variable.
ENDPOINT = os.environ.get("AWS_ENDPOINT_URL")
BUCKET = ENDPOINT or os.environ["BUCKET_URL"]
COGNITO = ENDPOINT or os.environ["COGNITO_URL"]
SETTINGS = {
    "cognito": COGNITO,
    "clientId": os.environ["COGNITO_CLIENT_ID"],  # empty if the operator has set another issuer
    "imageCount": int(os.environ["IMAGE_COUNT"]),
    "maxUploadBytes": int(os.environ["MAX_UPLOAD_BYTES"]),
    "defaultPrompt": os.environ["DEFAULT_PROMPT"],
    "words": WORDS,
    "notRetryable": NOT_RETRYABLE,
    "tokenInLink": bool(ENDPOINT),  # on AWS, a link could sign a visitor in as another user
}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": f"'self' blob: {BUCKET}",
    "connect-src": f"'self' {BUCKET} {COGNITO}" if SETTINGS["clientId"] else f"'self' {BUCKET}",
    "form-action": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
# Of the browser. A photo from the camera comes through the file dialog, which asks by itself.
UNUSED = (
    "accelerometer",
    "camera",
    "display-capture",
    "geolocation",
    "gyroscope",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "usb",
)
HEADERS = {
    "Cache-Control": "no-cache",  # the browser keeps it, and asks with its ETag
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    # The page shares its process with no other site. It loads pictures with CORS, which both policies permit.
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in UNUSED),
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",  # s, two years
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class File(NamedTuple):
    headers: dict[str, str]
    body: str

    @classmethod
    def of(cls, body: str, content_type: str) -> File:
        etag = f'"{hashlib.sha256(body.encode()).hexdigest()[:16]}"'
        return cls({**HEADERS, "Content-Type": content_type, "ETag": etag}, body)


def handler(event: dict[str, object], context: object) -> dict[str, object]:  # noqa: ARG001  # Lambda's signature
    path, headers = event["rawPath"], event["headers"]
    file = FILES.get(str(path))
    if file is None:
        return _not_found()
    if isinstance(headers, dict) and file.headers["ETag"] in headers.get("if-none-match", ""):
        return {"headers": file.headers, "statusCode": HTTPStatus.NOT_MODIFIED}
    return {"headers": file.headers, "body": file.body, "statusCode": HTTPStatus.OK}


def _not_found() -> dict[str, object]:
    code, message = NOT_FOUND
    return {
        "headers": {**HEADERS, "Cache-Control": "no-store", "Content-Type": "application/json"},
        "body": json.dumps({"error": {"code": code, "message": message}}),
        "statusCode": HTTPStatus.NOT_FOUND,
    }


def _index() -> str:
    settings = html.escape(json.dumps(SETTINGS))
    return Template((FOLDER / "index.html").read_text("utf-8")).substitute(settings=settings)


# By path. Read once, when the function starts.
FILES = {
    "/": File.of(_index(), "text/html; charset=utf-8"),
    "/api/v1/docs": File.of((FOLDER / "docs.html").read_text("utf-8"), "text/html; charset=utf-8"),
    **{
        f"/page/{path.name}": File.of(path.read_text("utf-8"), CONTENT_TYPES[path.suffix])
        for path in FOLDER.iterdir()
        if path.suffix in CONTENT_TYPES
    },
}
