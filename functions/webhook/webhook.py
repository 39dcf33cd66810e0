"""Replicate calls: a prediction has ended."""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

import base64
import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, ValidationError

from triptych.flows import collect
from triptych.replicate import signatures, transport
from triptych.replicate.downloads import OutputUnavailableError
from triptych.replicate.predictions import Prediction
from triptych.replicate.signing_secret import signing_secret
from triptych.replicate.tags import Tag
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.runtime import clock
from triptych.runtime.observability import about_request, count, logger, metrics

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


# One for every reason: they tell a forger nothing.
ANSWERS = {
    HTTPStatus.UNAUTHORIZED: ("webhook_rejected", "This is no webhook of ours."),
    HTTPStatus.SERVICE_UNAVAILABLE: ("webhook_put_off", "Call again."),
}


class Call(BaseModel):
    """The part of API Gateway's event (payload 2.0) that a webhook needs."""

    headers: dict[str, str] = {}  # names in lower case
    raw_query: str = Field(default="", alias="rawQueryString")
    body: str = ""
    is_base64: bool = Field(default=False, alias="isBase64Encoded")

    def raw_body(self) -> bytes:
        """The bytes that were signed.

        Raises:
            ValueError: they are said to be base64, and are not.
        """
        return base64.b64decode(self.body, validate=True) if self.is_base64 else self.body.encode()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> dict[str, object]:  # noqa: ARG001  # Lambda's signature
    about_request(event)
    status = _status(Call.model_validate(event))
    code, message = ANSWERS.get(status, (None, None))
    body = {"error": {"code": code, "message": message}} if code else {}
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(body),
    }


def _status(call: Call) -> HTTPStatus:
    """The answer: 2xx ends it, anything else makes Replicate call again within a minute."""
    try:
        prediction, tag = _verified(call)
        verdict = collect.take(prediction, tag)
    except (Rejected, collect.UnboundError) as why:
        logger.warning("webhook rejected", reason=str(why) or "not bound")
        count("WebhooksRejected")
        return HTTPStatus.UNAUTHORIZED  # whatever the reason: it tells a forger nothing
    except (ReplicateUnavailableError, OutputUnavailableError) as error:
        logger.warning("webhook put off", reason=f"{type(error).__name__}: {error}")
        count("WebhooksPutOff")
        return HTTPStatus.SERVICE_UNAVAILABLE
    logger.info("webhook", prediction_id=prediction.id, status=prediction.status, verdict=verdict.name)
    count(verdict.value)
    return HTTPStatus.OK


class Rejected(Exception):  # noqa: N818  # a verdict
    """This is not a webhook that Replicate sent for one of our predictions."""


def _verified(call: Call) -> tuple[Prediction, Tag]:
    """What a webhook says, and which picture its query names, once its signature has been found good."""
    try:
        body = call.raw_body()
    except ValueError:
        raise Rejected("not base64") from None
    if not _is_signed(call.headers, body):
        raise Rejected("signature")
    tag = Tag.of_query(call.raw_query)
    if tag is None:
        raise Rejected("query")
    try:
        return Prediction.model_validate_json(body), tag
    except ValidationError:
        raise Rejected("not a prediction") from None


def _is_signed(headers: dict[str, str], body: bytes) -> bool:
    now = clock.now()
    secret = signing_secret()
    if signatures.is_signed(headers, body, secret, now):
        return True
    rotated = signing_secret(fresh=True)
    return rotated != secret and signatures.is_signed(headers, body, rotated, now)


transport.prepare()
init.done()
