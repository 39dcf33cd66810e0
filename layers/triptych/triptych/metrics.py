"""What a change of a job comes to, in figures; and whose fault it is where a picture failed. Pure, as the job's rules are.

A figure is read off the job before and after one write, and counted by whoever made that write. So an event that
comes five times, or to two functions at once, is counted once: only one write changes anything.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Literal

from triptych.job import Image, ImageStatus, Job, JobStatus

# Every name is one metric for each stack: CloudWatch bills each combination of a name and its dimensions, and an alarm
# or a graph needs the plain name. How a job ended, say, is therefore a name of its own rather than a dimension.
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
    "PredictionsCreated",
    "PredictionsNotCreated",
    "PredictionsRefused",
    "PredictionsInDoubt",
    "PredictionsAdopted",
    "PredictionsNeverMade",
    "WebhooksApplied",
    "WebhooksIgnored",
    "WebhooksRejected",
    "WebhooksPutOff",
    "UnexpectedErrors",
]
UNITS: dict[Metric, Literal["Seconds", "Bytes"]] = {  # of those that are no plain counts
    "SecondsToFirstPicture": "Seconds",
    "SecondsToLastPicture": "Seconds",
    "BytesCopied": "Bytes",
}


class Fault(Enum):
    """Who can do something about a failure."""

    OURS = auto()  # the operator, or whoever mends this code
    PHOTO = auto()  # the client, with another photo or prompt
    MODEL = auto()  # Replicate, or the model's maker: it may go well the next time


# The code of each failure → whose it is. `all_images_failed` is none of its own: each image says why.
FAULTS = {
    "deadline_exceeded": Fault.OURS,
    "model_not_configured": Fault.OURS,
    "output_host_not_allowed": Fault.OURS,
    "output_not_a_picture": Fault.OURS,
    "output_too_large": Fault.OURS,
    "photo_unopenable": Fault.OURS,  # it passed every check and still took too much: promised, and not kept
    "replicate_input_rejected": Fault.OURS,  # where the mapping is wrong, that is what every job meets
    "replicate_model_not_found": Fault.OURS,
    "replicate_out_of_credit": Fault.OURS,
    "replicate_refused": Fault.OURS,
    "replicate_token_unreadable": Fault.OURS,
    "replicate_unauthorized": Fault.OURS,
    "content_rejected": Fault.PHOTO,
    "photo_animated": Fault.PHOTO,
    "photo_empty": Fault.PHOTO,
    "photo_too_complex": Fault.PHOTO,
    "photo_too_large": Fault.PHOTO,
    "photo_too_many_pixels": Fault.PHOTO,
    "photo_type_mismatch": Fault.PHOTO,
    "photo_unreadable": Fault.PHOTO,
    "photo_unsupported": Fault.PHOTO,
    "upload_expired": Fault.PHOTO,
    "output_missing": Fault.MODEL,
    "output_unavailable": Fault.MODEL,
    "prediction_aborted": Fault.MODEL,
    "prediction_canceled": Fault.MODEL,
    "prediction_failed": Fault.MODEL,
    "prediction_lost": Fault.MODEL,
}
ENDS: dict[JobStatus, Metric] = {
    JobStatus.SUCCEEDED: "JobsSucceeded",
    JobStatus.PARTIAL: "JobsPartial",
    JobStatus.FAILED: "JobsFailed",
    JobStatus.CANCELED: "JobsCanceled",
    JobStatus.EXPIRED: "JobsExpired",
}
IMAGES: dict[Fault, Metric] = {
    Fault.OURS: "ImagesFailedByUs",
    Fault.PHOTO: "ImagesFailedByPhoto",
    Fault.MODEL: "ImagesFailedByModel",
}


def fault_of(image: Image) -> Fault | None:
    """Whose fault it is that the image failed; None where it did not. What nobody has judged is ours."""
    return FAULTS.get(image.error.code, Fault.OURS) if image.error else None


def ended(before: Job, after: Job) -> bool:
    """Whether it is this change that ended the job."""
    return after.status.is_terminal and not before.status.is_terminal


def figures(before: Job, after: Job) -> list[tuple[Metric, float]]:
    """What the change from `before` to `after`, one write, is counted as. Seconds count from the upload or the retry."""
    images = zip(before.images, after.images, strict=True)
    found = [figure for old, new in images if new.status is not old.status for figure in _of_image(old, new)]
    if before.uploaded_at is None and after.uploaded_at:
        found += _of_photo(after)
    if after.retried_at != before.retried_at:
        found.append(("JobsRetried", 1))
    took = max(0.0, (after.updated_at - (after.started_at or after.created_at)).total_seconds())
    if after.having(ImageStatus.STORED) and not before.having(ImageStatus.STORED):
        found.append(("SecondsToFirstPicture", took))
    if ended(before, after):
        found.append((ENDS[after.status], 1))
        if after.status is JobStatus.SUCCEEDED:
            found.append(("SecondsToLastPicture", took))
        if Fault.OURS in map(fault_of, after.images):
            found.append(("JobsFailedByUs", 1))
    return found


def _of_photo(job: Job) -> list[tuple[Metric, float]]:
    found: list[tuple[Metric, float]] = [("PhotosArrived", 1)]
    if job.photo.prepared_key:
        found.append(("PhotosPrepared", 1))
    if job.error and FAULTS.get(job.error.code) is Fault.PHOTO:
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
        found.append(("PredictionsAdopted", 1))  # its webhook was the first to name it
    return found
