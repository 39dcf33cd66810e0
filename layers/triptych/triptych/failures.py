"""The table of failures: code, sentence, fault, whether a retry may help, and what the client can do. Pure.

An image and a job carry a failure; the API answers a request with one. Only a failure's code and message are stored
or sent. The rest is looked up here, by the code.

To add a failure, add a member to `FailureKind` and use it where the failure arises. Its name in lower case is its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto, unique
from typing import Literal, Self


class Fault(Enum):
    """The party that can correct a failure."""

    CLIENT = auto()  # the client, with another photo, prompt or request
    SERVICE = auto()  # the operator, or the maintainers of this code
    MODEL = auto()  # Replicate or the model's maker: another attempt may succeed


@dataclass(frozen=True, slots=True)
class _Row:
    what: str  # what happened: a sentence
    advice: str  # what the client can do: a sentence
    fault: Fault
    retryable: bool = False  # whether the same photo or request may succeed later
    ends: Literal["job", "image"] | None = None  # a job with all its images, or one image
    status: int | None = None  # HTTP status of the API's answer


@unique
class FailureKind(Enum):
    """All failures."""

    # ── the photo: the job ends, and another photo needs another job ──
    PHOTO_TOO_LARGE = _Row(
        "The photo is larger than the limit.",
        "Send a smaller photo.",
        Fault.CLIENT,
        ends="job",
        status=413,
    )
    PHOTO_UNSUPPORTED = _Row(
        "The photo is not a JPEG, PNG, WebP, HEIC or HEIF file.",
        "Convert it to one of these types.",
        Fault.CLIENT,
        ends="job",
        status=415,
    )
    PHOTO_TYPE_MISMATCH = _Row(
        "The photo's type is not the declared content_type.",
        "Declare the type of the file.",
        Fault.CLIENT,
        ends="job",
    )
    PHOTO_EMPTY = _Row("The photo has no bytes.", "Send another photo.", Fault.CLIENT, ends="job")
    PHOTO_UNREADABLE = _Row(
        "The photo is damaged or truncated.",
        "Send it again, or send another photo.",
        Fault.CLIENT,
        ends="job",
    )
    PHOTO_ANIMATED = _Row("The photo is animated.", "Send a still photo.", Fault.CLIENT, ends="job")
    PHOTO_TOO_MANY_PIXELS = _Row(
        "The photo has more pixels than the limit.", "Scale it down.", Fault.CLIENT, ends="job"
    )
    PHOTO_TOO_COMPLEX = _Row(
        "The photo takes too much memory or time to open.",
        "Save it again with another program, or send a smaller photo.",
        Fault.CLIENT,
        ends="job",
    )
    PHOTO_UNOPENABLE = _Row(
        "The function died or hung each time that it opened the photo.",
        "Send a smaller photo, or save it again with another program.",
        Fault.SERVICE,  # only a child of the function opens a photo, so the function should have lived on
        ends="job",
    )
    UPLOAD_EXPIRED = _Row(
        "The photo was not uploaded in time.", "Create a new job.", Fault.CLIENT, ends="job"
    )

    # ── the predictions ──
    DEADLINE_EXCEEDED = _Row(
        "The image was not finished in time.",
        "Retry the job later.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )
    CONTENT_REJECTED = _Row(
        "The model's safety filter rejected the photo, the prompt or the output.",
        "Use another photo or prompt.",
        Fault.CLIENT,
        retryable=True,  # with another seed, the output may pass
        ends="image",
    )
    PREDICTION_FAILED = _Row("The model failed.", "Retry the job.", Fault.MODEL, retryable=True, ends="image")
    PREDICTION_CANCELED = _Row(
        "The prediction was canceled at Replicate.",
        "Retry the job.",
        Fault.MODEL,
        retryable=True,
        ends="image",
    )
    PREDICTION_ABORTED = _Row(
        "Replicate did not start the prediction in time.",
        "Retry the job later.",
        Fault.MODEL,
        retryable=True,
        ends="image",
    )
    PREDICTION_LOST = _Row(
        "Replicate no longer has the prediction.",
        "Retry the job.",
        Fault.MODEL,
        retryable=True,
        ends="image",
    )
    ATTEMPTS_USED = _Row(
        "Replicate did not confirm the image's prediction, however often it was requested.",
        "Create a new job later.",
        Fault.SERVICE,
        ends="image",
    )
    ALL_IMAGES_FAILED = _Row(
        "All images failed, for different reasons.",
        "Read the error of each image.",
        Fault.MODEL,  # not counted: each image counts, with its own fault
        retryable=True,
        ends="job",
    )

    # ── the outputs ──
    OUTPUT_MISSING = _Row(
        "The model finished without an output.", "Retry the job.", Fault.MODEL, retryable=True, ends="image"
    )
    OUTPUT_UNAVAILABLE = _Row(
        "The output could not be downloaded.", "Retry the job.", Fault.MODEL, retryable=True, ends="image"
    )
    OUTPUT_TOO_LARGE = _Row(
        "The output is larger than the limit.",
        "Ask the operator to raise MaxOutputBytes.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )
    OUTPUT_NOT_A_PICTURE = _Row(
        "The output is not an image of a known type.",
        "Ask the operator to check the model.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )
    OUTPUT_HOST_NOT_ALLOWED = _Row(
        "The output is on a host that is not allowed.",
        "Ask the operator to check AllowedOutputHosts.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )

    # ── Replicate refuses, or the stack is not set up: the operator corrects that, then a retry may succeed ──
    REPLICATE_UNAUTHORIZED = _Row(
        "Replicate refused the service's token, or the token is not set.",
        "Ask the operator to set the token, then retry the job.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )
    REPLICATE_TOKEN_UNREADABLE = _Row(
        "The service has no permission to read its Replicate token.",
        "Ask the operator to permit it, then retry the job.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )
    REPLICATE_OUT_OF_CREDIT = _Row(
        "The service's credit at Replicate is used up.",
        "Ask the operator to add credit, then retry the job.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )
    REPLICATE_MODEL_NOT_FOUND = _Row(
        "The model does not exist at Replicate.",
        "Ask the operator to correct ReplicateModel, then retry the job.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )
    REPLICATE_INPUT_REJECTED = _Row(
        "The model does not accept this photo or prompt.",
        "Use another photo or prompt, or ask the operator to check ReplicateInputMapping.",
        Fault.SERVICE,  # a wrong mapping fails every job in this way
        retryable=True,
        ends="image",
    )
    REPLICATE_REFUSED = _Row(
        "Replicate refused the request.",
        "Ask the operator to read the log, then retry the job.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )
    MODEL_NOT_CONFIGURED = _Row(
        "The service does not know the input fields of its model.",
        "Ask the operator to set ReplicateInputMapping, then retry the job.",
        Fault.SERVICE,
        retryable=True,
        ends="image",
    )

    # ── requests: only the API's answers have these codes ──
    INVALID_REQUEST = _Row(
        "A field, header or query parameter is missing or wrong.",
        "Correct the request.",
        Fault.CLIENT,
        status=400,
    )
    BAD_CURSOR = _Row(
        "This API did not return this cursor.", "Start at the first page.", Fault.CLIENT, status=400
    )
    NO_OWNER = _Row(
        "The token has no sub, or its sub is longer than 1,024 bytes.",
        "Use another token.",
        Fault.CLIENT,
        status=403,
    )
    JOB_NOT_FOUND = _Row(
        "The job does not exist, or it belongs to another user.",
        "Check the job's id.",
        Fault.CLIENT,
        status=404,
    )
    ROUTE_NOT_FOUND = _Row("This route does not exist.", "Check the path.", Fault.CLIENT, status=404)
    METHOD_NOT_ALLOWED = _Row(
        "This route does not accept the method.",
        "Use a method from the Allow header.",
        Fault.CLIENT,
        status=405,
    )
    IDEMPOTENCY_KEY_USED = _Row(
        "The Idempotency-Key was used for another request, or for a deleted job.",
        "Use a new key.",
        Fault.CLIENT,
        status=409,
    )
    RETRY_LIMIT_REACHED = _Row("The job has no retries left.", "Create a new job.", Fault.CLIENT, status=409)
    NOTHING_TO_RETRY = _Row(
        "The job has no failed image that a retry may help.",
        "Create a new job.",
        Fault.CLIENT,
        status=409,
    )
    PHOTO_GONE = _Row(
        "That job's photo has not arrived, or it is deleted.",
        "Upload the photo for a new job.",
        Fault.CLIENT,
        status=409,
    )
    NOT_JSON = _Row(
        "The body is not declared as JSON.",
        "Send Content-Type: application/json.",
        Fault.CLIENT,
        status=415,
    )
    DAILY_LIMIT_REACHED = _Row(
        "You have reached your daily limit of pictures.",
        "Wait the number of seconds in Retry-After.",
        Fault.CLIENT,
        retryable=True,
        status=429,
    )
    STACK_LIMIT_REACHED = _Row(
        "The service has reached its daily limit of pictures.",
        "Wait the number of seconds in Retry-After.",
        Fault.SERVICE,
        retryable=True,
        status=429,
    )
    TOO_MANY_ACTIVE_JOBS = _Row(
        "You have too many unfinished jobs.",
        "Wait until one of them has ended.",
        Fault.CLIENT,
        retryable=True,
        status=429,
    )
    TOO_MANY_AT_ONCE = _Row(
        "Too many jobs are created, retried or listed at once.",
        "Wait the number of seconds in Retry-After.",
        Fault.CLIENT,
        retryable=True,
        status=429,
    )
    INTERNAL_ERROR = _Row(
        "The service had an unexpected error.",
        "Send the request again later.",
        Fault.SERVICE,
        retryable=True,
        status=500,
    )
    MISCONFIGURED = _Row(
        "A parameter of the stack is wrong.",
        "Ask the operator to correct it and to deploy again.",
        Fault.SERVICE,
        status=500,
    )
    # One code for every reason: more would help a forger.
    WEBHOOK_REJECTED = _Row(
        "The webhook was rejected.", "Only Replicate can call this route.", Fault.CLIENT, status=401
    )
    WEBHOOK_PUT_OFF = _Row(
        "The webhook cannot be handled now.",
        "Call again in a few seconds.",
        Fault.SERVICE,
        retryable=True,
        status=503,
    )

    _value_: _Row

    @property
    def code(self) -> str:
        return self.name.lower()

    @property
    def what(self) -> str:
        return self._value_.what

    @property
    def advice(self) -> str:
        return self._value_.advice

    @property
    def message(self) -> str:
        """What happened, then what to do."""
        return f"{self.what} {self.advice}"

    @property
    def fault(self) -> Fault:
        return self._value_.fault

    @property
    def retryable(self) -> bool:
        return self._value_.retryable

    @property
    def ends(self) -> Literal["job", "image"] | None:
        return self._value_.ends

    @property
    def status(self) -> int | None:
        return self._value_.status


@dataclass(frozen=True, slots=True)
class Failure:
    """The stored reason why an image or a job has no output: a code for programs, a sentence for people.

    A job may carry a code of another release. It then counts as the service's fault, and the job may be retried.
    """

    code: str
    message: str

    @classmethod
    def of(cls, kind: FailureKind) -> Self:
        return cls(kind.code, kind.message)

    @property
    def kind(self) -> FailureKind | None:
        """The failure's row in the table; None for a code of another release."""
        return FailureKind.__members__.get(self.code.upper())

    @property
    def fault(self) -> Fault:
        return self.kind.fault if self.kind else Fault.SERVICE

    @property
    def retryable(self) -> bool:
        return self.kind.retryable if self.kind else True
