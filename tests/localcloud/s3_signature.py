"""S3's authorization: Signature Version 4 in a presigned URL or in the Authorization header.

moto answers every request. This module checks the signature, its age, the signed headers and the body's checksums, so
that a wrong upload fails as on S3.

Sources: "Authenticating Requests (AWS Signature Version 4)" and "Error responses" in the Amazon S3 API Reference.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WEEK = 604800  # seconds; the longest lifetime of a presigned URL
CLOCK_SKEW = timedelta(minutes=15)

_QUERY = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<credential>[^,\s]+),\s*"
    r"SignedHeaders=(?P<headers>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]+)"
)
_DIGESTS: Mapping[str, Callable[[bytes], bytes]] = {
    "content-md5": lambda body: hashlib.md5(body, usedforsecurity=False).digest(),
    "x-amz-checksum-crc32": lambda body: zlib.crc32(body).to_bytes(4),
    "x-amz-checksum-sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda body: hashlib.sha256(body).digest(),
}


class RefusedError(Exception):
    """S3 refuses a request; holds the HTTP status, and the code, message and other elements of the error's XML."""

    def __init__(self, status: int, code: str, message: str, **details: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details


@dataclass(frozen=True)
class S3Request:
    """A received request: path and query are still encoded, header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def parameters(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query, keep_blank_values=True)


@dataclass(frozen=True)
class _Claim:
    """The fields of a signature."""

    credential: str  # access key id/date/region/service/aws4_request
    timestamp: str
    signed: frozenset[str]  # header names
    signature: str
    expires: int | None = None  # seconds; None if the URL is not presigned


class _Signer(S3SigV4QueryAuth):
    """Botocore's signer with a fixed set of headers. Botocore's own choice omits some that other clients sign."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return HTTPHeaders.from_pairs([(name.lower(), value) for name, value in request.headers.items()])


@dataclass(frozen=True)
class Signer:
    """The signer of a request."""

    access_key_id: str
    presigned: bool  # the signature is in the URL, so that any holder of the URL can use it


def authorize(request: S3Request, secrets: Mapping[str, str], now: datetime) -> Signer:
    """Check that a request is signed with one of the secrets, unchanged and not expired; return its signer.

    Args:
        request: The request.
        secrets: The accepted secrets, by access key id.
        now: The current time.

    Raises:
        RefusedError: The request is not authorized. The error has S3's words.
    """
    parameters = dict(request.parameters())
    in_query = not parameters.keys().isdisjoint({"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"})
    version_2 = not parameters.keys().isdisjoint({"AWSAccessKeyId", "Signature"})
    if in_query + version_2 + ("authorization" in request.headers) > 1:
        raise RefusedError(400, "InvalidArgument", "Only one auth mechanism allowed")
    if version_2:
        raise RefusedError(400, "InvalidRequest", "Please use AWS4-HMAC-SHA256.")
    if in_query:
        claim = _claim_of_query(parameters)
    elif "authorization" in request.headers:
        claim = _claim_of_header(request.headers)
    else:
        raise RefusedError(403, "AccessDenied", "Access Denied")
    _check_time(claim, now)
    _check_signature(request, claim, secrets)
    return Signer(claim.credential.partition("/")[0], presigned=in_query)


def check_body(request: S3Request) -> None:
    """Check every digest of the request against its body.

    Raises:
        RefusedError: A digest does not match.
    """
    declared = request.headers.get("x-amz-content-sha256", "")
    if re.fullmatch(r"[0-9a-f]{64}", declared) and declared != hashlib.sha256(request.body).hexdigest():
        message = "The provided 'x-amz-content-sha256' header does not match what was computed."
        raise RefusedError(400, "XAmzContentSHA256Mismatch", message)
    if "x-amz-copy-source" in request.headers or declared.startswith("STREAMING-"):
        return  # there is no body, or it is sent in chunks that end with the checksum
    given = {name.lower(): value for name, value in request.parameters()} | dict(request.headers)
    for name, digest in _DIGESTS.items():
        if name in given and not _is_digest(given[name], digest(request.body)):
            which = "Content-MD5" if name == "content-md5" else name.rpartition("-")[2].upper()
            message = f"The {which} you specified did not match the calculated checksum."
            raise RefusedError(400, "BadDigest", message)


def _is_digest(given: str, digest: bytes) -> bool:
    return given == base64.b64encode(digest).decode()


def _claim_of_query(parameters: Mapping[str, str]) -> _Claim:
    if any(name not in parameters for name in _QUERY) or parameters["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256":
        names = f"{', '.join(_QUERY[:-1])}, and {_QUERY[-1]}"
        message = f"Query-string authentication version 4 requires the {names} parameters."
        raise RefusedError(400, "AuthorizationQueryParametersError", message)
    expires = parameters["X-Amz-Expires"]
    if not re.fullmatch(r"\d{1,7}", expires) or int(expires) > WEEK:
        message = f"X-Amz-Expires must be a number of seconds, and at most {WEEK}"
        raise RefusedError(400, "AuthorizationQueryParametersError", message)
    return _Claim(
        credential=parameters["X-Amz-Credential"],
        timestamp=parameters["X-Amz-Date"],
        signed=frozenset(parameters["X-Amz-SignedHeaders"].split(";")),
        signature=parameters["X-Amz-Signature"],
        expires=int(expires),
    )


def _claim_of_header(headers: Mapping[str, str]) -> _Claim:
    found = _AUTHORIZATION.fullmatch(headers["authorization"].strip())
    if found is None:
        raise RefusedError(
            400, "InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization"
        )
    return _Claim(
        credential=found["credential"],
        timestamp=headers.get("x-amz-date", ""),
        signed=frozenset(found["headers"].split(";")),
        signature=found["signature"],
    )


def _check_time(claim: _Claim, now: datetime) -> None:
    try:
        made = datetime.strptime(claim.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise RefusedError(
            403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header"
        ) from None
    if claim.expires is None:
        if abs(now - made) > CLOCK_SKEW:
            message = "The difference between the request time and the current time is too large."
            raise RefusedError(403, "RequestTimeTooSkewed", message)
    elif made > now + CLOCK_SKEW:
        raise RefusedError(403, "AccessDenied", "Request is not valid yet")
    elif now > (end := made + timedelta(seconds=claim.expires)):
        details = {"X-Amz-Expires": str(claim.expires), "Expires": _iso(end), "ServerTime": _iso(now)}
        raise RefusedError(403, "AccessDenied", "Request has expired", **details)


def _check_signature(request: S3Request, claim: _Claim, secrets: Mapping[str, str]) -> None:
    key, date, region, service, end = (*claim.credential.split("/"), "", "", "", "", "")[:5]
    if (date, service, end) != (claim.timestamp[:8], "s3", "aws4_request"):
        message = (
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; "
            'expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
        raise RefusedError(400, "AuthorizationQueryParametersError", message)
    if key not in secrets:
        message = "The AWS Access Key Id you provided does not exist in our records."
        raise RefusedError(403, "InvalidAccessKeyId", message, AWSAccessKeyId=key)
    must = {"host"} | {name for name in request.headers if name.startswith("x-amz-")} - {
        "x-amz-content-sha256"
    }
    if unsigned := must - claim.signed:
        message = "There were headers present in the request which were not signed"
        raise RefusedError(403, "AccessDenied", message, HeadersNotSigned=", ".join(sorted(unsigned)))
    query = sorted(
        (_encode(name), _encode(value)) for name, value in request.parameters() if name != "X-Amz-Signature"
    )
    canonical = AWSRequest(
        method=request.method,
        url=f"//host{_encode(unquote(request.path), safe='/')}?"
        + "&".join(f"{name}={value}" for name, value in query),
        headers={name: value for name, value in request.headers.items() if name in claim.signed},
    )
    canonical.context["timestamp"] = claim.timestamp
    signer = _Signer(Credentials(key, secrets[key]), service, region)
    text = signer.canonical_request(canonical)
    if not hmac.compare_digest(
        signer.signature(signer.string_to_sign(canonical, text), canonical), claim.signature
    ):
        message = (
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method."
        )
        raise RefusedError(403, "SignatureDoesNotMatch", message, CanonicalRequest=text)


def _encode(value: str, safe: str = "") -> str:
    return quote(value, safe=f"{safe}-_.~")


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
