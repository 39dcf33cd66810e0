"""Logs and metrics, the same for every function.

Log lines carry job and prediction ids, and never a presigned URL, a token, a prompt or a whole webhook body
(Replicate echoes the webhook's URL and the input in it).
"""

from __future__ import annotations

import warnings

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

# An invocation that has nothing to count is nothing to warn of.
warnings.filterwarnings("ignore", "No application metrics to publish")

logger = Logger(utc=True, log_uncaught_exceptions=True)
metrics = Metrics(namespace="Triptych")


def about(job_id: str) -> None:
    """Put the job's id on every log line from here to the end of the invocation."""
    logger.append_keys(job_id=job_id)


def count(name: str, value: int = 1) -> None:
    """Add `value` to the metric `name`; it leaves with the invocation."""
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
