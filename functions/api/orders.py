"""An order, checked against what the stack offers, as the job's request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from errors import ApiError
from triptych.aws import styles
from triptych.failures import FailureKind
from triptych.flows.create_job import KeyUsedError
from triptych.job import ImageRequest, Job, JobRequest
from triptych.photo.formats import PHOTO_TYPES
from triptych.settings import settings

if TYPE_CHECKING:
    from views import CreateJob


def request_of(order: CreateJob, source: Job | None, earlier: Job | None = None) -> JobRequest:
    """Return what a client asks for.

    Args:
        order: The body of the client's request.
        source: The job whose photo it uses, if none is uploaded.
        earlier: The job that this client created with the same key. What it asked for is not checked again: a repeated
            request returns it whatever the stack offers by now.

    Raises:
        ApiError: The stack does not offer it, or the photo would be rejected after its upload.
        MisconfiguredError: The stack's catalogue of styles cannot be read.
    """
    before = earlier.request if earlier else None
    if before is None or before.model != order.model:
        _check_model(order)
    if order.callback_url is not None and (before is None or before.callback_url != order.callback_url):
        _check_callback(order.callback_url)
    photo = before if before and before.photo_of and before.photo_of == order.photo_of else None
    photo = photo or (source.request if source else None)
    content_type, size = (
        (photo.content_type, photo.size) if photo else (order.content_type or "", order.content_length or 0)
    )
    is_known = before is not None and (before.content_type, before.size) == (content_type, size)
    if not photo and not is_known:
        _check_photo(content_type, size)
    return JobRequest(
        content_type=content_type,
        size=size,
        checksum_sha256=order.checksum_sha256,
        prompt=order.prompt,
        image_count=order.image_count,
        images=tuple(ImageRequest(one.prompt, one.seed) for one in order.images or ()),
        style=order.style,
        style_prompt=before.style_prompt
        if before and before.style == order.style
        else _prompt_of(order.style),
        model=order.model,
        metadata=order.metadata,
        callback_url=order.callback_url,
        photo_of=order.photo_of,
    )


def request_for_another(job: Job | None, index: int, earlier: Job | None = None) -> JobRequest:
    """Return the request for one more image like that at `index`: the same photo, prompt and model.

    Args:
        job: The job with that image. None: it has been deleted since this client created `earlier` from it.
        index: The image.
        earlier: As for `request_of`.

    Raises:
        ApiError: The job has no such image.
        KeyUsedError: `earlier` repeats another image of the deleted job.
    """
    before = earlier.request if earlier else None
    if before and before.image_of == index and (job is None or before.photo_of == job.job_id):
        return before
    if job is None:
        raise KeyUsedError
    if not 0 <= index < len(job.images):
        raise ApiError(FailureKind.INVALID_REQUEST, f"index must be below {len(job.images)}.")
    if not _is_offered(job.request.model):
        raise ApiError(
            FailureKind.INVALID_REQUEST, f"The job's model {job.request.model} is no longer offered."
        )
    if job.request.callback_url and not _may_be_called(job.request.callback_url):
        raise ApiError(
            FailureKind.INVALID_REQUEST,
            "The job's callback_url is no longer allowed. Create a job with photo_of and without it instead.",
        )
    return replace(
        job.request,
        checksum_sha256=None,
        prompt=job.request.asked_of(index).prompt or job.request.prompt,
        image_count=1,
        images=(),
        photo_of=job.job_id,
        image_of=index,
    )


def _check_photo(content_type: str, size: int) -> None:
    if content_type not in PHOTO_TYPES:
        known = ", ".join(PHOTO_TYPES)
        raise ApiError(FailureKind.PHOTO_UNSUPPORTED, f"content_type must be one of {known}.")
    largest = settings().max_upload_bytes
    if size > largest:
        raise ApiError(FailureKind.PHOTO_TOO_LARGE, f"content_length must be at most {largest} bytes.")


def _check_model(order: CreateJob) -> None:
    if not _is_offered(order.model):
        known = ", ".join(settings().models)
        raise ApiError(FailureKind.INVALID_REQUEST, f"model must be one of {known}.")
    if any(one.seed is not None for one in order.images or ()) and not settings().takes_seed(order.model):
        raise ApiError(FailureKind.INVALID_REQUEST, "images: this model takes no seed.")


def _may_be_called(url: str) -> bool:
    from triptych.runtime import hosts  # noqa: PLC0415  # slow to import, and few orders name a URL

    return hosts.is_allowed(url, settings().allowed_callback_hosts)


def _check_callback(url: str) -> None:
    allowed = settings().allowed_callback_hosts
    if not _may_be_called(url):
        those = (
            f"an https URL at {', '.join(allowed)}" if allowed else "left out: this stack calls nobody back"
        )
        raise ApiError(FailureKind.INVALID_REQUEST, f"callback_url must be {those}.")


def _is_offered(model: str | None) -> bool:
    return model is None or model in settings().models


def _prompt_of(style: str | None) -> str | None:
    if style is None:
        return None
    found = {one.id: one.prompt for one in styles.catalogue()}
    if style not in found:
        raise ApiError(FailureKind.INVALID_REQUEST, f"style must be one of {', '.join(found)}.")
    return found[style]
