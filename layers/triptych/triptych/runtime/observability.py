"""Logs and metrics, the same for every function.

Log lines carry job and prediction ids, and never a presigned URL, a token, a prompt or a whole webhook body
(Replicate echoes the webhook's URL and the input in it).

What belongs together has one `correlation_id`: the id of the job as soon as it is known, which is what the client is
given, what each message holds and what each webhook's URL names; until then, that of the request to the API.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger, Metrics

from triptych.metrics import UNITS, ended, figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from triptych.job import Job
    from triptych.metrics import Metric

# An invocation that has nothing to count is nothing to warn of.
warnings.filterwarnings("ignore", "No application metrics to publish")

logger = Logger(utc=True, log_uncaught_exceptions=True)
# By stack, so that two in one account are told apart; not by function, which would make a sum of every alarm. Not in
# the settings: a stack whose settings are wrong must be seen, too.
metrics = Metrics(namespace="Triptych", service="")
metrics.set_default_dimensions(Stack=os.environ.get("STACK_NAME", "triptych"))


def requested(event: Mapping[str, object]) -> None:
    """Put the id of a request to the API, which its answer's `apigw-requestid` tells the client, on every log line."""
    context = event.get("requestContext")
    request_id = context.get("requestId") if isinstance(context, dict) else None
    if request_id:
        logger.append_keys(request_id=request_id)
        logger.set_correlation_id(request_id)


def about(job_id: str) -> None:
    """Put the job's id on every log line from here to the end of the invocation."""
    logger.append_keys(job_id=job_id)
    logger.set_correlation_id(job_id)


def about_nobody() -> None:
    """Undo `about`: what follows is another record of the same invocation."""
    logger.remove_keys(["job_id", "correlation_id"])


def count(name: Metric, value: float = 1) -> None:
    """Add `value` to the metric `name`; it leaves with the invocation."""
    metrics.add_metric(name=name, unit=UNITS.get(name, "Count"), value=value)


def changed(before: Job, after: Job) -> None:
    """Tell of a change that this invocation has just written."""
    for name, value in figures(before, after):
        count(name, value)
    if ended(before, after):
        logger.info("job ended", status=after.status)


def unexpected(what: str, **keys: object) -> None:
    """Tell of the exception that is being handled, which nobody has foreseen: the alarm FunctionErrors counts them."""
    logger.error(what, exc_info=True, stacklevel=3, extra=keys)  # noqa: LOG014  # it is called from one
    count("UnexpectedErrors")
