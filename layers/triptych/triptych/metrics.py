"""The metrics of a job's changes. Pure, as the job's rules are.

`figures` derives them from the job before and after one write. Only the invocation that made the write counts them. So an
event that arrives five times, or at two functions at once, is counted once: only one write changes anything. The code
counts the other metrics where something happens: a request, a webhook, a look. If that is repeated, it counts again.
"""

from __future__ import annotations

from typing import Literal

from triptych.failures import Fault
from triptych.job import Image, ImageStatus, Job, JobStatus

# Every name is one metric for each stack. CloudWatch bills each combination of a name and dimensions, and alarms and
# graphs need plain names. So each end of a job has a name of its own, not a dimension.
type Metric = Literal[
    "JobsCreated",
    "JobsSucceeded",
    "JobsPartial",
    "JobsFailed",
    "JobsCanceled",
    "JobsExpired",
    "JobsFailedByUs",
    "JobsRetried",
    "JobsDeleted",
    "PhotosArrived",
    "PhotosPrepared",
    "PhotosRejected",
    "UploadsFound",
    "ImagesStored",
    "ImagesFailedByUs",
    "ImagesFailedByPhoto",
    "ImagesFailedByModel",
    "ImagesCanceled",
    "SecondsToFirstPicture",
    "SecondsToLastPicture",
    "BytesCopied",
    "PreviewsMissing",
    "PredictionsCreated",
    "PredictionsNotCreated",
    "PredictionsRefused",
    "PredictionsInDoubt",
    "PredictionsAdopted",
    "PredictionsDoubled",
    "PredictionsNeverMade",
    "PredictionsWasted",
    "EstimatedDollars",
    "WebhooksApplied",
    "WebhooksIgnored",
    "WebhooksRejected",
    "WebhooksPutOff",
    "CallbacksDelivered",
    "CallbacksRefused",
    "CallbacksGivenUp",
    "UnexpectedErrors",
]
UNITS: dict[Metric, Literal["Seconds", "Bytes"]] = {  # the others are counts
    "SecondsToFirstPicture": "Seconds",
    "SecondsToLastPicture": "Seconds",
    "BytesCopied": "Bytes",
}


ENDS: dict[JobStatus, Metric] = {
    JobStatus.SUCCEEDED: "JobsSucceeded",
    JobStatus.PARTIAL: "JobsPartial",
    JobStatus.FAILED: "JobsFailed",
    JobStatus.CANCELED: "JobsCanceled",
    JobStatus.EXPIRED: "JobsExpired",
}
IMAGES: dict[Fault, Metric] = {
    Fault.SERVICE: "ImagesFailedByUs",
    Fault.CLIENT: "ImagesFailedByPhoto",
    Fault.MODEL: "ImagesFailedByModel",
}


def fault_of(image: Image) -> Fault | None:
    """Return whose fault the image's failure is; None if it has not failed."""
    return image.error.fault if image.error else None


def ended(before: Job, after: Job) -> bool:
    """Return whether this change ended the job."""
    return after.status.is_terminal and not before.status.is_terminal


def figures(before: Job, after: Job) -> list[tuple[Metric, float]]:
    """Return the metrics of one write, from `before` to `after`. Seconds count from the upload or the last retry."""
    images = zip(before.images, after.images, strict=True)
    found = [figure for old, new in images if new.status is not old.status for figure in _of_image(old, new)]
    found += _of_photo(before, after)
    if after.retried_at != before.retried_at:
        found.append(("JobsRetried", 1))
    took = max(0.0, (after.updated_at - (after.started_at or after.created_at)).total_seconds())
    if after.having(ImageStatus.STORED) and not before.having(ImageStatus.STORED):
        found.append(("SecondsToFirstPicture", took))
    if ended(before, after):
        found.append((ENDS[after.status], 1))
        if after.status is JobStatus.SUCCEEDED:
            found.append(("SecondsToLastPicture", took))
        if Fault.SERVICE in map(fault_of, after.images):
            found.append(("JobsFailedByUs", 1))
    return found


def _of_photo(before: Job, after: Job) -> list[tuple[Metric, float]]:
    found: list[tuple[Metric, float]] = []
    if before.uploaded_at is None and after.uploaded_at:
        found.append(("PhotosArrived", 1))
    if after.photo.prepared_key and not before.photo.prepared_key:
        found.append(("PhotosPrepared", 1))
    if after.has_photo and not before.has_photo and after.error and after.error.fault is Fault.CLIENT:
        found.append(("PhotosRejected", 1))
    return found


def _of_image(old: Image, new: Image) -> list[tuple[Metric, float]]:
    found: list[tuple[Metric, float]] = []
    if new.output:
        found += [("ImagesStored", 1), ("BytesCopied", new.output.size)]
    if new.status is ImageStatus.CANCELED:
        found.append(("ImagesCanceled", 1))
    if fault := fault_of(new):
        found.append((IMAGES[fault], 1))
    if old.status is ImageStatus.REQUESTING and new.status.is_terminal and new.prediction_id:
        found.append(("PredictionsAdopted", 1))  # its webhook was the first to name the prediction
    return found
