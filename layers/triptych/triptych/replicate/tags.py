"""Tags: the job, image and attempt that a prediction belongs to."""

from __future__ import annotations

import base64
import hmac
import re
from typing import NamedTuple, Self
from urllib.parse import parse_qs, urlencode, urlsplit

KEY_BYTES = 16
MOST_FIELDS = 16  # of a webhook URL's query: a forged one may have any number
MOST_FIELDS_OF_PHOTO = 32  # of a presigned URL's query
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

    def on(self, webhook_url: str, token: str) -> str:
        """Return the webhook URL for this prediction, with its key."""
        query = {"job_id": self.job_id, "image": self.image, "attempt": self.attempt, "key": self._key(token)}
        return f"{webhook_url}?{urlencode(query)}"

    def has_key(self, query: str, token: str) -> bool:
        """Return whether a webhook URL's query holds this tag's key: only this stack and Replicate know it.

        The key proves nothing about the body of a webhook. It only keeps others from making a function ask Replicate for
        the signing secret.
        """
        given = ",".join(parse_qs(query, max_num_fields=MOST_FIELDS).get("key", ()))
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._key(token).encode())

    def _key(self, token: str) -> str:
        digest = hmac.digest(token.encode(), f"webhook of {self.file_name}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest[:KEY_BYTES]).rstrip(b"=").decode()

    @classmethod
    def of_query(cls, query: str) -> Self | None:
        """Return the tag in a webhook URL's query, or None."""
        try:
            values = parse_qs(query, max_num_fields=MOST_FIELDS)
            (job_id,), (image,), (attempt,) = values["job_id"], values["image"], values["attempt"]
        except (KeyError, ValueError):
            return None
        return cls._read(job_id, image, attempt)

    @classmethod
    def of_photo_url(cls, url: str) -> Self | None:
        """Return the tag in a photo's presigned URL, or None."""
        try:
            values = parse_qs(urlsplit(url).query, max_num_fields=MOST_FIELDS_OF_PHOTO)
        except ValueError:
            return None
        disposition = " ".join(values.get("response-content-disposition", ()))
        name = disposition.partition('filename="')[2].rstrip('"')
        parts = name.split(".")
        return cls._read(*parts) if len(parts) == len(cls._fields) else None

    @classmethod
    def _read(cls, job_id: str, image: str, attempt: str) -> Self | None:
        # A text that is no ASCII is no job's id, and may be none that can be encoded.
        if not (job_id and job_id.isascii() and _NUMBER.fullmatch(image) and _NUMBER.fullmatch(attempt)):
            return None
        return cls(job_id, int(image), int(attempt))
