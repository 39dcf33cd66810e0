"""Replicate reports the end of a prediction."""

from __future__ import annotations

from triptych.runtime import init  # isort: skip  # before all else

import json
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from triptych.failures import FailureKind
from triptych.flows import collect
from triptych.replicate import transport, webhooks
from triptych.replicate.downloads import OutputUnavailableError
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.replicate.webhooks import WebhookRejectedError
from triptych.runtime.answers import secured
from triptych.runtime.observability import about_request, count, logger, metrics

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


class Call(BaseModel):
    """The part of API Gateway's event (payload 2.0) that a webhook needs."""

    headers: dict[str, str] = {}  # names in lower case
    raw_query: str = Field(default="", alias="rawQueryString")
    body: str = ""
    is_base64: bool = Field(default=False, alias="isBase64Encoded")


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> dict[str, object]:  # noqa: ARG001  # Lambda's signature
    about_request(event)
    failure = _take(Call.model_validate(event))
    error = {"error": {"code": failure.code, "message": failure.message}} if failure else {}
    return secured(
        {
            "statusCode": failure.status if failure else 200,
            "headers": {"content-type": "application/json"},
            "body": json.dumps(error),
        }
    )


def _take(call: Call) -> FailureKind | None:
    """Take a webhook. After a failure, Replicate calls again, for about a minute."""
    try:
        prediction, tag = webhooks.verified(call.headers, call.body, call.raw_query, is_base64=call.is_base64)
        handling = collect.take(prediction, tag)
    except (WebhookRejectedError, collect.UnboundError) as why:
        logger.warning("webhook rejected", reason=str(why) or "not bound")
        count("WebhooksRejected")
        return FailureKind.WEBHOOK_REJECTED
    except (ReplicateUnavailableError, OutputUnavailableError) as error:
        logger.warning("webhook put off", reason=f"{type(error).__name__}: {error}")
        count("WebhooksPutOff")
        return FailureKind.WEBHOOK_PUT_OFF
    logger.info("webhook", prediction_id=prediction.id, status=prediction.status, handling=handling.name)
    count(handling.value)
    return None


transport.prepare()
init.done()
