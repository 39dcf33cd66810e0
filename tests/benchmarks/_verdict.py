"""What came of jobs, held against what Replicate was paid for and what lies in S3."""

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
class Verdict:
    """How many jobs or pictures went wrong, and how."""

    lost: int  # jobs that had no end in time
    paid_twice: int  # predictions billed beyond those that a job has pictures
    wrong: int  # jobs told done whose pictures are not in S3, or told failed and paid for


def judge(
    found: Mapping[str, Found], predictions: Collection[Entry], objects: Collection[str], *, images: int
) -> Verdict:
    """The verdict on `found`.

    Args:
        found: what is told of each job.
        predictions: all that Replicate has made.
        objects: the keys of the pictures in S3.
        images: of each job.
    """
    billed = Counter(_job(entry) for entry in predictions if entry.billed)
    return Verdict(
        lost=sum(one.state == "open" for one in found.values()),
        paid_twice=sum(max(0, billed[job] - images) for job in found),
        wrong=sum(_is_wrong(one, billed[job], objects, images) for job, one in found.items()),
    )


def _is_wrong(one: Found, billed: int, objects: Collection[str], images: int) -> bool:
    if one.state == "done":
        return len(set(one.keys) & set(objects)) < images
    return one.state == "failed" and billed > 0


def _job(entry: Entry) -> str:
    """Whose photo it was made of: its key is uploads/{job}/…, on either side."""
    path = urlsplit(str(entry.input["input_image"])).path
    return path.partition("uploads/")[2].partition("/")[0]
