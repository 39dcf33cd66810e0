"""The AWS server: moto behind a WSGI application that makes it atomic and checks signatures and roles.

It checks a request that is signed by a role's session against the role's policies. The account's own key may do
everything.

moto reads the environment on import, so `aws.py` sets it first.
"""

from __future__ import annotations

import io
import json
import re
import threading
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from moto.dynamodb.models import dynamodb_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Request, Response

from tests.localcloud import calls, moto_patches, s3_cors
from tests.localcloud.moto_patches import changed
from tests.localcloud.roles import Roles, Session
from tests.localcloud.s3_signature import RefusedError, S3Request, Signer, authorize, check_body

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    from moto.backends import SERVICE_NAMES

    from tests.localcloud.policies import Call

_SIGNED = re.compile(r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/")
_SERVICES: tuple[SERVICE_NAMES, ...] = (
    "cognito-idp",
    "sqs",
    "dynamodb",
    "s3",
    "ssm",
    "secretsmanager",
    "events",
    "dynamodbstreams",
)
_BUCKET_HOST = re.compile(r"(?P<bucket>.+)\.(?:localhost|s3\.[a-z0-9-]+\.amazonaws\.com)")
# Cognito accepts browsers from any origin.
_COGNITO_TARGET = "AWSCognitoIdentityProviderService."
_COGNITO_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage,Date",
}
_COGNITO_PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Authorization,Content-Type,X-Amz-Date,X-Amz-Target,X-Amz-User-Agent,X-Api-Key",
    "Access-Control-Max-Age": "172800",
}
_NOT_ALLOWED = (
    "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method "
    "/ Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec."
)


def make(port: int, account: str, secrets: Mapping[str, str]) -> BaseWSGIServer:
    """Return a server that listens on 127.0.0.1.

    Args:
        port: The port; 0 takes a free one.
        account: The account id.
        secrets: The secrets of the accepted keys, by access key id.

    Raises:
        OSError: The port is in use.
    """
    moto_patches.apply()
    return make_server("127.0.0.1", port, _Door(account, secrets), threaded=True, request_handler=_Handler)


class _Handler(MotoRequestHandler):
    """A handler that keeps connections open. Werkzeug's closes them, which costs a handshake for each request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one write

    def handle_expect_100(self) -> bool:
        goes_on = super().handle_expect_100()
        self.wfile.flush()  # the client waits for this line
        return goes_on

    def run_wsgi(self) -> None:
        environ = self.environ = self.make_environ()
        body = self._body(environ)
        if body is None:
            self.close_connection = True
            return
        environ["wsgi.input"] = io.BytesIO(body)
        try:
            chunks, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
        except Exception:  # noqa: BLE001  # an error in moto must fail only its own request
            traceback.print_exc()
            chunks, status, headers = run_wsgi_app(Response("InternalFailure", 500), environ, buffered=True)
        code, _, reason = status.partition(" ")
        content = b"".join(chunks)
        headers.setdefault("Content-Length", str(len(content)))
        headers.setdefault("Date", self.date_time_string())
        self.send_response_only(int(code), reason)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and code not in {"204", "304"}:
            self.wfile.write(content)
        self.wfile.flush()

    def _body(self, environ: WSGIEnvironment) -> bytes | None:
        """Read the whole body before the request takes the lock; return None if it is shorter than declared."""
        stream = environ["wsgi.input"]
        length = environ.get("CONTENT_LENGTH", "0")
        try:
            if environ.get("wsgi.input_terminated"):
                return bytes(stream.read())
            body = bytes(stream.read(int(length))) if length.isdecimal() else None
        except OSError:
            return None
        return body if body is not None and len(body) == int(length) else None

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do not log answered requests."""


class _Door:
    """The WSGI application."""

    def __init__(self, account: str, secrets: Mapping[str, str]) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._account = account
        self._secrets = secrets
        self._roles = Roles()
        threading.Thread(target=self._warm_up, daemon=True).start()

    def _warm_up(self) -> None:
        """Import the services in the order of their first use, while the first requests run."""
        for service in _SERVICES:
            self._moto.app_instances.setdefault(service, create_backend_app(service))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._answer(environ)(environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> Response:
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "").lower()
        if environ["REQUEST_METHOD"] == "OPTIONS" and "x-amz-target" in asked.split(","):
            # Browsers do not send this header to S3 or SQS.
            return Response(status=200, headers=_COGNITO_PREFLIGHT)
        answer = self._roles.answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], _body(environ))
        if answer is not None:
            return Response(answer, content_type="application/json")
        if self._is_s3(environ):
            return self._s3(environ)
        response = self._refusal(environ) or self._ask_moto(environ)
        if environ.get("HTTP_X_AMZ_TARGET", "").startswith(_COGNITO_TARGET):
            response.headers.update(_COGNITO_CORS)
        return response

    def _is_s3(self, environ: WSGIEnvironment) -> bool:
        """Return whether the request is for S3. As in moto's dispatcher, S3 is the default."""
        path = environ["PATH_INFO"]
        if path.startswith(("/moto-api", "/latest/meta-data/", "/latest/api/")):
            return False
        host = self._moto.infer_service_region_host(environ, path)
        return self._moto.get_backend_for_host(host) in (None, "s3")

    def _ask_moto(self, environ: WSGIEnvironment) -> Response:
        with changed:
            return Response.from_app(self._moto, environ, buffered=True)

    def _refusal(self, environ: WSGIEnvironment) -> Response | None:
        """Return the error for a role's request that its policies do not allow, to a service with a JSON protocol."""
        signed = _SIGNED.match(environ.get("HTTP_AUTHORIZATION", ""))
        session = self._roles.session(signed["key"]) if signed else None
        if signed is None or session is None:
            return None
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        if environ.get("HTTP_X_AMZ_SECURITY_TOKEN") != session.session_token:
            return _json_error(
                target,
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            )

        def hash_key(table: str) -> str:
            return str(dynamodb_backends[self._account][signed["region"]].get_table(table).hash_key_attr)

        body = json.loads(_body(environ)) if target else {}
        asked = calls.of_target(target, body, f"{signed['region']}:{self._account}", hash_key)
        denied = self._roles.denied(session, asked)
        return _json_error(target, "AccessDeniedException", self._why(session, denied)) if denied else None

    def _why(self, session: Session, denied: Call) -> str:
        return (
            f"User: arn:aws:sts::{self._account}:assumed-role/{session.role} is not authorized to perform: "
            f"{denied.action} on resource: {denied.resource} because no identity-based policy allows the "
            f"{denied.action} action"
        )

    def _s3_as_permitted(self, environ: WSGIEnvironment, request: S3Request, signer: Signer) -> Response:
        """Return moto's answer if the signer's role permits the request. Also checks the signer of a presigned URL."""
        session = self._roles.session(signer.access_key_id)
        if session is None:
            return self._ask_moto(environ)
        parameters = dict(request.parameters())
        if session.session_token not in {
            parameters.get("X-Amz-Security-Token"),
            request.headers.get("x-amz-security-token"),
        }:
            raise RefusedError(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        bucket, key = _bucket_and_key(environ)
        asked = calls.of_s3(request.method, bucket, key, parameters, request.headers, request.body)
        if denied := self._roles.denied(session, asked):
            raise RefusedError(403, "AccessDenied", self._why(session, denied))
        response = self._ask_moto(environ)
        if response.status_code == 404 and key and not self._may_see_absence(session, bucket):
            raise RefusedError(403, "AccessDenied", self._why(session, calls.list_bucket(bucket)))
        return response

    def _may_see_absence(self, session: Session, bucket: str) -> bool:
        """Return whether the signer may learn that an object does not exist: S3 requires permission to list the bucket.

        A missing permission is not recorded as denied: S3 answers 403 instead of 404, which is not an error for those who
        expect it. The request has no prefix, so a permission that is bound to one does not apply.

        https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        """
        return self._roles.may(session, calls.list_bucket(bucket))

    def _s3(self, environ: WSGIEnvironment) -> Response:
        request = _s3_request(environ)
        origin = request.headers.get("origin")
        try:
            if request.method == "OPTIONS":
                return self._preflight(environ, request)
            signer = authorize(request, {**self._secrets, **self._roles.secrets()}, datetime.now(UTC))
            check_body(request)
            response = self._s3_as_permitted(environ, request, signer)
        except RefusedError as error:
            response = _error(error)
        for name in [name for name, _ in response.headers if name.lower().startswith("access-control-")]:
            del response.headers[name]
        if origin is not None:
            # S3 treats a preflight's headers in another request like those of a preflight.
            method = request.headers.get("access-control-request-method", request.method)
            asked = request.headers.get("access-control-request-headers")
            response.headers.update(s3_cors.answer(self._rules(environ), origin, method, asked) or {})
        return response

    def _preflight(self, environ: WSGIEnvironment, request: S3Request) -> Response:
        origin = request.headers.get("origin")
        method = request.headers.get("access-control-request-method")
        if origin is None:
            raise RefusedError(400, "BadRequest", "Insufficient information. Origin request header needed.")
        _, key = _bucket_and_key(environ)
        rules = self._rules(environ)
        if not rules:
            message = "CORSResponse: CORS is not enabled for this bucket."
            details = {"Method": method or "OPTIONS", "ResourceType": "BUCKET"}
            raise RefusedError(403, "AccessForbidden", message, **details)
        if method not in {"GET", "PUT", "HEAD", "POST", "DELETE"}:
            raise RefusedError(400, "BadRequest", f"Invalid Access-Control-Request-Method: {method}")
        headers = s3_cors.answer(
            rules, origin, method, request.headers.get("access-control-request-headers", "")
        )
        if headers is None:
            details = {"Method": method, "ResourceType": "OBJECT" if key else "BUCKET"}
            raise RefusedError(403, "AccessForbidden", _NOT_ALLOWED, **details)
        return Response(status=200, headers=headers)

    def _rules(self, environ: WSGIEnvironment) -> list[s3_cors.Rule]:
        name, _ = _bucket_and_key(environ)
        with changed:
            bucket = s3_backends[self._account]["aws"].buckets.get(name)
            return [
                s3_cors.Rule(
                    origins=rule.allowed_origins or (),
                    methods=rule.allowed_methods or (),
                    headers=rule.allowed_headers or (),
                    exposed=rule.exposed_headers or (),
                    max_age=rule.max_age_seconds,
                )
                for rule in (bucket.cors if bucket else ())
            ]


def _body(environ: WSGIEnvironment) -> bytes:
    return bytes(environ["wsgi.input"].getvalue())  # _Handler has read the whole body


def _bucket_and_key(environ: WSGIEnvironment) -> tuple[str, str]:
    host = environ.get("HTTP_HOST", "").partition(":")[0]
    path: str = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")  # PEP 3333's encoding
    if found := _BUCKET_HOST.fullmatch(host):
        return found["bucket"], path.removeprefix("/")
    bucket, _, key = path.removeprefix("/").partition("/")
    return bucket, key


def _s3_request(environ: WSGIEnvironment) -> S3Request:
    path, _, query = environ["RAW_URI"].partition("?")
    headers = {
        name.lower(): value for name, value in Request(environ, populate_request=False).headers.items()
    }
    return S3Request(environ["REQUEST_METHOD"], path, query, headers, _body(environ))


def _json_error(target: str, code: str, message: str) -> Response:
    """Return an error in the service's format. SQS answers 403 and adds its code from before the JSON protocol."""
    body = json.dumps({"__type": code, "message": message, "Message": message})
    response = Response(body, status=400, content_type="application/x-amz-json-1.0")
    if target.startswith("AmazonSQS."):
        response.status_code = 403
        response.headers["x-amzn-query-error"] = f"{code.removesuffix('Exception')};Sender"
    return response


def _error(error: RefusedError) -> Response:
    elements = {"Code": error.code, "Message": error.message, **error.details, "RequestId": "0" * 16}
    body = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    return Response(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{body}</Error>',
        status=error.status,
        content_type="application/xml",
    )
