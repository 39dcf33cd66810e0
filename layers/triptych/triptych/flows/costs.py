"""Count what predictions cost, and those that were made for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from triptych.job import Image, ImageStatus
from triptych.runtime.observability import count, logger
from triptych.settings import settings

if TYPE_CHECKING:
    from triptych.job import Job
    from triptych.replicate.predictions import Prediction
    from triptych.replicate.tags import Tag

BILLED = {"succeeded", "canceled"}  # the ends that Replicate bills; a failed or aborted prediction is free


def count_cost(predictions: float) -> None:
    """Count what these predictions cost. Call it where their existence is counted."""
    if dollars := predictions * settings().picture_cost_dollars:
        count("EstimatedDollars", dollars)


def count_if_wasted(prediction: Prediction, tag: Tag, job: Job | None) -> None:
    """Count a prediction that has ended, was billed, and that no image uses.

    Its job was canceled, deleted or over, or one POST created several predictions. Each prediction has one webhook at its
    end. If Replicate repeats it because the answer came late, the prediction is counted again.
    """
    if prediction.status in BILLED and not (job and _is_used(job.images[tag.image], prediction, tag)):
        logger.warning("made for nothing", prediction_id=prediction.id, status=prediction.status)
        count("PredictionsWasted")


def _is_used(image: Image, prediction: Prediction, tag: Tag) -> bool:
    if image.prediction_id != prediction.id or image.attempt != tag.attempt:
        return False
    canceled = image.status is ImageStatus.CANCELED
    # After the deadline an output may still be used: a retry asks for it. A canceled prediction has none.
    late = image.status is ImageStatus.FAILED and prediction.status == "canceled"
    return not (canceled or late)
