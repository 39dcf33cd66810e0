"""Make and store the preview of a photo or an output.

Whatever goes wrong here costs a preview, never a photo or an output.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from triptych.aws import bucket
from triptych.photo.bounded import UnpreviewableError
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import count, logger, unexpected

if TYPE_CHECKING:
    from collections.abc import Callable

    from triptych.job import Preview
    from triptych.photo.inspection import Prepared

MOST_SECONDS = 6.0  # for one preview
LEAST_SECONDS = 1.0  # with less time left, none is begun
SPARE_SECONDS = 2.0  # of the budget, for S3 and for the caller


def add(key: str, file: IO[bytes], budget: TimeBudget) -> Preview | None:
    """Make the preview of the object at `key` and store it; return None if there can be none.

    Args:
        key: Where the photo or the output lies.
        file: Its bytes, in a real file. Its position does not change.
        budget: For all this.
    """
    return _tried(partial(_add, key, file, budget))


def of_photo(key: str, photo: IO[bytes], prepared: Prepared | None) -> Preview | None:
    """As `add`, for a photo. Its prepared copy, if there is one, is smaller and easier to open."""
    budget = TimeBudget(MOST_SECONDS + SPARE_SECONDS)
    if prepared is None:
        return add(key, photo, budget)
    made = _tried(partial(_add_bytes, key, prepared.jpeg, budget))
    return made and replace(made, width=prepared.width, height=prepared.height)


def _tried(make: Callable[[], Preview]) -> Preview | None:
    try:
        return make()
    except UnpreviewableError as why:
        logger.info("no preview", reason=str(why))
    except (BotoCoreError, ClientError) as error:
        logger.warning("no preview", reason=type(error).__name__)
    except Exception:  # noqa: BLE001  # the caller holds what is worth more, such as the ids of predictions
        unexpected("no preview")
    count("PreviewsMissing")
    return None


def _add_bytes(key: str, content: bytes, budget: TimeBudget) -> Preview:
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        return _add(key, file, budget)


def _add(key: str, file: IO[bytes], budget: TimeBudget) -> Preview:
    from triptych.photo import previews  # noqa: PLC0415  # slow to import, and most invocations open nothing

    seconds = min(MOST_SECONDS, budget.seconds_left - SPARE_SECONDS)
    if seconds < LEAST_SECONDS:
        raise UnpreviewableError("no time left")
    made = previews.make(file, seconds)
    if budget.is_spent:  # the caller has gone on, and the job may be deleted by now
        raise UnpreviewableError("too late")
    bucket.store_preview(key, made.webp)
    return made.preview
