"""Logs and metrics, the same for every function.

Log lines carry job and prediction ids. They never carry a presigned URL, a token, a prompt or a whole webhook body:
Replicate repeats the webhook's URL and the input in the body.

All log lines about one job share a `correlation_id`: the job's id. Clients know it, every message holds it, and every
webhook URL names it. Before the id is known, it is the id of the API request.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger, Metrics

from triptych.metrics import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import ValidationError

    from triptych.metrics import Metric

# An invocation that counts nothing is normal.
warnings.filterwarnings("ignore", "No application metrics to publish")

logger = Logger(utc=True, log_uncaught_exceptions=True)
# The dimension is the stack, so that two stacks in one account stay apart. It is not the function, because every alarm
# would then need a sum. It is not read from the settings: a stack with wrong settings must be visible, too.
metrics = Metrics(namespace="Triptych", service="")
metrics.set_default_dimensions(Stack=os.environ.get("STACK_NAME", "triptych"))


def about_request(event: Mapping[str, object]) -> None:
    """Put the API request's id on every log line. The client finds it in the header `apigw-requestid`."""
    context = event.get("requestContext")
    request_id = context.get("requestId") if isinstance(context, dict) else None
    if request_id:
        logger.append_keys(request_id=request_id)
        logger.set_correlation_id(request_id)


def about_job(job_id: str) -> None:
    """Put the job's id on every log line from here to the end of the invocation."""
    logger.append_keys(job_id=job_id)
    logger.set_correlation_id(job_id)


def about_no_job() -> None:
    """Undo `about_job`, before the next record of the same invocation."""
    logger.remove_keys(["job_id", "correlation_id"])


def count(name: Metric, value: float = 1) -> None:
    """Add `value` to the metric `name`. Metrics are published when the invocation ends."""
    metrics.add_metric(name=name, unit=UNITS.get(name, "Count"), value=value)


def unreadable(message_id: str, error: ValidationError) -> None:
    """Log a message whose body has no known form, and count it. Do not put it back: its form stays the same."""
    logger.error("unreadable message", message_id=message_id, problems=error.error_count(), stacklevel=3)
    count("UnexpectedErrors")


def unexpected(message: str, **keys: object) -> None:
    """Log the exception that is being handled, and count it. The alarm FunctionErrors watches this count."""
    logger.error(message, exc_info=True, stacklevel=3, extra=keys)  # noqa: LOG014  # called from an exception handler
    count("UnexpectedErrors")
