"""The losses of a run: its jobs compared with the billed predictions and the outputs in S3."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.benchmarks._sides import Found
    from tests.localcloud.replicate_predictions import Entry


@dataclass(frozen=True)
class Losses:
    """The number of jobs or images with a loss, by kind."""

    lost: int  # jobs that did not end in time
    paid_twice: int  # billed predictions beyond the number of images
    wrong: int  # jobs reported as succeeded without outputs in S3, or as failed with a billed prediction


def count_losses(
    found: Mapping[str, Found], predictions: Collection[Entry], objects: Collection[str], *, images: int
) -> Losses:
    """Count the losses.

    Args:
        found: The reported state of each job.
        predictions: All predictions at Replicate.
        objects: The keys of the outputs in S3.
        images: The number of images of a job.
    """
    billed = Counter(job_of(entry) for entry in predictions if entry.billed)
    return Losses(
        lost=sum(one.state == "open" for one in found.values()),
        paid_twice=sum(max(0, billed[job] - images) for job in found),
        wrong=sum(_is_wrong(one, billed[job], objects, images) for job, one in found.items()),
    )


def _is_wrong(one: Found, billed: int, objects: Collection[str], images: int) -> bool:
    if one.state == "done":
        return len(set(one.keys) & set(objects)) < images
    return one.state == "failed" and billed > 0


def job_of(entry: Entry) -> str:
    """Return the job of a prediction, from its photo's key: uploads/{job}/… on both sides."""
    path = urlsplit(str(entry.input["input_image"])).path
    return path.partition("uploads/")[2].partition("/")[0]
