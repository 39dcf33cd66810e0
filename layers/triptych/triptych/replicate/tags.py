"""Tags: the job, image and attempt that a prediction belongs to."""

from __future__ import annotations

import re
from typing import NamedTuple, Self
from urllib.parse import parse_qs, urlencode, urlsplit

_NUMBER = re.compile(r"[0-9]{1,6}")


class Tag(NamedTuple):
    """The job, image and attempt that a prediction belongs to. A tag names exactly one POST to Replicate.

    A tag is part of the webhook URL (its query) and of the photo's URL (the file name of the download). So webhooks and
    lists of predictions name the image, whether or not the model takes a seed.
    """

    job_id: str
    image: int
    attempt: int

    @property
    def file_name(self) -> str:
        return f"{self.job_id}.{self.image}.{self.attempt}"

    def on(self, webhook_url: str) -> str:
        """Return the webhook URL for this prediction."""
        query = {"job_id": self.job_id, "image": self.image, "attempt": self.attempt}
        return f"{webhook_url}?{urlencode(query)}"

    @classmethod
    def of_query(cls, query: str) -> Self | None:
        """Return the tag in a webhook URL's query, or None."""
        try:
            values = parse_qs(query, max_num_fields=16)
            (job_id,), (image,), (attempt,) = values["job_id"], values["image"], values["attempt"]
        except (KeyError, ValueError):
            return None
        return cls._read(job_id, image, attempt)

    @classmethod
    def of_photo_url(cls, url: str) -> Self | None:
        """Return the tag in a photo's presigned URL, or None."""
        try:
            values = parse_qs(urlsplit(url).query, max_num_fields=32)
        except ValueError:
            return None
        name = values.get("response-content-disposition", [""])[0].partition('filename="')[2].rstrip('"')
        parts = name.split(".")
        return cls._read(*parts) if len(parts) == len(cls._fields) else None

    @classmethod
    def _read(cls, job_id: str, image: str, attempt: str) -> Self | None:
        if not (job_id and _NUMBER.fullmatch(image) and _NUMBER.fullmatch(attempt)):
            return None
        return cls(job_id, int(image), int(attempt))
