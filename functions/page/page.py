"""Serve the page: static files, and the settings of this stack."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import os
import re
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from string import Template

from words import NOT_FOUND, NOT_RETRYABLE

FOLDER = Path(__file__).parent / "static"
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
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
    "maxPhotoEdge": int(os.environ["MAX_PHOTO_EDGE"]),
    "defaultPrompt": os.environ["DEFAULT_PROMPT"],
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


KEPT = "public, max-age=31536000, immutable"  # s, one year; of a file whose URL has its version


class File:
    """A file with its headers. It is no dataclass: that import would take a fifth of this function's start."""

    def __init__(self, body: bytes, content_type: str) -> None:
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        self.headers = {**HEADERS, "Content-Type": content_type, "ETag": etag, "Vary": "Accept-Encoding"}
        self.body = body

    @cached_property  # the first answer need not wait until all files are compressed
    def packed(self) -> bytes:
        """The body, compressed."""
        return gzip.compress(self.body, mtime=0)


def handler(event: dict[str, object], context: object) -> dict[str, object]:  # noqa: ARG001  # Lambda's signature
    path, asked = str(event["rawPath"]), event["headers"]
    file = FILES.get(path)
    if file is None:
        return _not_found()
    headers = dict(file.headers)
    if path.startswith("/page/") and event.get("rawQueryString") == VERSION:
        headers["Cache-Control"] = KEPT
    asked = asked if isinstance(asked, dict) else {}
    if headers["ETag"].strip('"') in asked.get("if-none-match", ""):
        return {"headers": headers, "statusCode": HTTPStatus.NOT_MODIFIED}
    body = file.body
    # API Gateway compresses nothing by itself.
    if "gzip" in asked.get("accept-encoding", "") and len(file.packed) < len(body):
        headers |= {"Content-Encoding": "gzip", "ETag": f"W/{headers['ETag']}"}
        body = file.packed
    content = base64.b64encode(body).decode()
    return {"headers": headers, "body": content, "isBase64Encoded": True, "statusCode": HTTPStatus.OK}


def _not_found() -> dict[str, object]:
    code, message = NOT_FOUND
    return {
        "headers": {**HEADERS, "Cache-Control": "no-store", "Content-Type": "application/json"},
        "body": json.dumps({"error": {"code": code, "message": message}}),
        "statusCode": HTTPStatus.NOT_FOUND,
    }


def _index() -> bytes:
    """Return the page with its settings and the URLs of its modules, which start.js loads."""
    modules = (
        name for name in sorted(STATIC) if name.endswith(".js") and name not in {"docs.js", "start.js"}
    )
    return (
        Template(STATIC["index.html"].decode())
        .substitute(
            settings=html.escape(json.dumps(SETTINGS)),
            version=f"?{VERSION}",
            modules=" ".join(f"/page/{name}?{VERSION}" for name in modules),
        )
        .encode()
    )


def _versioned(name: str, content: bytes) -> bytes:
    """Return a module that imports the files of this version: one of another version may not fit."""
    if not name.endswith(".js"):
        return content
    return re.sub(rb'(from|import) "(\./[\w.-]+\.js)"', rb'\1 "\2?' + VERSION.encode() + b'"', content)


# By name and by path. Read once, when the function starts.
STATIC = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())}
VERSION = "v=" + hashlib.sha256(b"\0".join(STATIC.values())).hexdigest()[:12]
FILES = {
    "/": File(_index(), "text/html; charset=utf-8"),
    "/api/v1/docs": File(STATIC["docs.html"], "text/html; charset=utf-8"),
    **{
        f"/page/{name}": File(_versioned(name, content), CONTENT_TYPES[Path(name).suffix])
        for name, content in STATIC.items()
        if Path(name).suffix in CONTENT_TYPES
    },
}
