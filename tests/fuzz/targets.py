"""The targets: each takes bytes, makes of them what a stranger could send, and raises if a promise is broken."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

import api
import errors
import generate
import watchdog
import webhook
from tests.fuzz.reader import Json, Reader
from tests.support.events import CONTEXT, api_event, s3_notification, signed, sqs_event, webhook_event
from tests.support.fake_replicate import promised
from tests.support.photo_corpus import PREPARED, READY, REJECTED
from tests.support.photos import JPEG
from tests.support.world import World, world_on_moto
from triptych.aws import queues
from triptych.failures import FailureKind
from triptych.pace import Pace
from triptych.photo import bounded
from triptych.photo.formats import PHOTO_TYPES
from triptych.photo.inspection import Finding, Prepared, Ready, Rejected, inspect

FRESH = 200  # inputs that share an AWS and a Replicate
PIXELS = 1_000_000
LONGEST_PHOTO = 16_384  # bytes
CODES = {kind.code for kind in FailureKind}

type Take = Callable[[bytes], None]


class FindingError(AssertionError):
    """A promise that an input breaks."""


def must(right: object, wrong: object) -> None:
    if not right:
        raise FindingError(wrong)


# ── photos ──


def photo(data: bytes) -> None:
    """Inspect a photo: there is always a finding, and a prepared copy suits any model."""
    reader = Reader(data)
    announced = reader.choice(PHOTO_TYPES)
    finding = _find(reader.rest(), announced)
    must(isinstance(finding, Ready | Prepared | Rejected), finding)
    if isinstance(finding, Prepared):
        must(isinstance(_find(finding.jpeg, "image/jpeg"), Ready), "the prepared copy is not ready")


def _find(content: bytes, announced: str) -> Finding:
    import tempfile  # noqa: PLC0415  # it is not to be instrumented

    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return inspect(file, announced, max_pixels=PIXELS, max_edge=512)


# ── the API ──

ORDER: Json = {"content_type": "image/jpeg", "content_length": len(JPEG), "prompt": "Paint it."}


def request(world: Sent, data: bytes) -> None:
    """Send a request to the API: it is answered, with a documented error if it is wrong, and never with a 5xx."""
    reader = Reader(data)
    paths = (
        "/api/v1/jobs",
        f"/api/v1/jobs/{world.job_id}",
        f"/api/v1/jobs/{reader.text()}",
        "/" + reader.text(),
    )
    path = reader.choice(paths) + reader.choice(("", "", "", "/retry", "/cancel"))
    order = reader.changed(ORDER)
    body = reader.choice((order, None, reader.json(), "raw"))
    text = reader.text() if body == "raw" else None if body is None else json.dumps(body)
    headers = {
        reader.choice(("idempotency_key", "if_none_match", "content_type", "authorization")): reader.text(300)
    }
    owner = reader.choice(("ann", "ann", "bob", reader.text()))
    method = reader.choice(("GET", "POST", "DELETE", "PUT", "PATCH"))
    event = api_event(method, path.replace("?", ""), text, owner=owner, **headers)
    if reader.yes():
        query = {
            reader.choice(("limit", "cursor")): reader.text(80),
            **({"limit": "2"} if reader.yes() else {}),
        }
        event["queryStringParameters"] = query
    if reader.yes() and text:
        event["body"], event["isBase64Encoded"] = (
            base64.b64encode(text.encode(errors="replace")).decode(),
            True,
        )
    answer = api.handler(event, CONTEXT)
    status, body = int(str(answer["statusCode"])), str(answer["body"] or "")
    must(200 <= status < 500, (status, body))
    if status >= 400:
        must(json.loads(body)["error"]["code"] in CODES, body)
    must(owner == "ann" or world.job_id not in body, "another owner sees the job")


# ── the webhook route ──


def call(world: Sent, data: bytes) -> None:
    """Call the webhook route: nothing unsigned changes anything, and no call fails in a way that nobody foresaw."""
    reader = Reader(data)
    prediction = world.replicate.finish(f"p{reader.byte() % 3}")
    raw = reader.yes()
    base: Any = promised(prediction)
    body = reader.take(200) if raw else json.dumps(reader.changed(base)).encode()
    query = urlsplit(prediction["webhook"]).query
    if reader.yes():
        changed = reader.changed(query)
        query = changed if isinstance(changed, str) else query
    is_signed = reader.yes()
    headers = signed(body, world.clock) if is_signed else _forged(reader, world)
    try:
        event = webhook_event(body, headers, query)
    except UnicodeDecodeError:
        event = webhook_event(base64.b64encode(body), headers, query) | {"isBase64Encoded": True}
    before = world.job(world.job_id)
    answer = webhook.handler(event, CONTEXT)
    must(answer["statusCode"] in {200, 401, 503}, answer)
    if not is_signed:
        must(answer["statusCode"] == 401, answer)
        must(world.job(world.job_id) == before, "an unsigned call changed the job")


def _forged(reader: Reader, world: Sent) -> dict[str, str]:
    good = signed(b"another body", world.clock)
    return {name: reader.text(90) if reader.yes() else value for name, value in good.items()}


# ── messages ──


def message(world: Sent, data: bytes) -> None:
    """Deliver a message of a queue: one that cannot be read is dropped, and any other is handled without a surprise."""
    reader = Reader(data)
    if not world.item(world.job_id):  # an earlier message deleted it, as a message of the watchdog may
        world.start()
    job = world.job(world.job_id)
    key = job.photo.key
    known: tuple[Json, ...] = (
        {"job_id": world.job_id, "original_s3_key": key, "again": True, "doubled": ["p1"]},
        s3_notification(world.job_id),
        {
            "job_id": world.job_id,
            "born_at": job.created_at.isoformat(),
            "left": [
                {"image": 0, "attempt": 1, "prediction_id": "p1", "asked_at": None, "in_doubt_until": None},
            ],
            "canceled_at": job.created_at.isoformat(),
            "uploads_until": job.created_at.isoformat(),
        },
    )
    body: object = reader.changed(reader.choice(known)) if reader.yes() else reader.text(200)
    queue = reader.choice(("generation", "waiting", "watchdog"))
    event = sqs_event(body, receives=1 + reader.byte() % 20, queue=queue, waited=reader.byte() / 16)
    function = watchdog if queue == "watchdog" else generate
    answer = function.handler(event, CONTEXT)
    must(set(answer) == {"batchItemFailures"}, answer)


class Sent(World):
    """A world with a job whose predictions p0, p1 and p2 run."""

    job_id: str

    @classmethod
    def of(cls, world: World) -> Self:
        made = cls(**vars(world))
        made.start()
        return made

    def start(self) -> None:
        self.job_id = self.new_job()
        generate.handler(sqs_event(s3_notification(self.job_id)), CONTEXT)


# ── the targets by name ──

IN_A_WORLD: dict[str, Callable[[Sent, bytes], None]] = {"api": request, "webhook": call, "messages": message}
NAMES = ("photos", *IN_A_WORLD)


def seeds(name: str) -> list[bytes]:
    """Return the inputs to begin with."""
    if name == "photos":
        samples = [*READY.values(), *PREPARED.values(), *(sample for sample, _ in REJECTED.values())]
        found = [bytes([PHOTO_TYPES.index(one.announced)]) + one.data() for one in samples]
        return [one for one in found if len(one) <= LONGEST_PHOTO]
    generator = random.Random(1)
    return [generator.randbytes(generator.randrange(10, 600)) for _ in range(60)]


@contextmanager
def target(name: str) -> Iterator[Take]:
    """Prepare the target `name`; yield what takes its inputs."""
    with pytest.MonkeyPatch.context() as patch:
        for function in (errors, generate, watchdog):
            patch.setattr(function, "unexpected", _surprise)
        if name == "photos":
            # In this process, where coverage is seen. What crashes it ends only the child on AWS.
            patch.setattr(bounded, "run", lambda task: task())
            yield photo
            return
        with ExitStack() as worlds:
            yield _Refreshed(IN_A_WORLD[name], worlds)


def _surprise(what: str, **_: object) -> None:
    raise FindingError(what)


class _Refreshed:
    """A target in a world, which is replaced from time to time: it grows with each input."""

    def __init__(self, take: Callable[[Sent, bytes], None], worlds: ExitStack) -> None:
        self._take = take
        self._worlds = worlds
        self._left = 0
        self._world: Sent | None = None

    def __call__(self, data: bytes) -> None:
        self._left -= 1
        if self._world is None or self._left < 0:
            self._worlds.close()
            self._world = self._worlds.enter_context(_world())
            self._left = FRESH
        self._take(self._world, data)


@contextmanager
def _world() -> Iterator[Sent]:
    with pytest.MonkeyPatch.context() as patch, world_on_moto(patch) as world:
        patch.setattr(generate, "pace", Pace())
        patch.setattr(queues, "put_back", lambda *_, **__: None)
        patch.setattr(queues, "remove_from_waiting", lambda *_: None)
        yield Sent.of(world)
