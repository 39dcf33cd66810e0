"""What an order sends and stores, and what it must not cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.jobs import START, waiting_job
from triptych.aws import bucket, counts, queues, table
from triptych.flows import create_job as orders
from triptych.flows import record
from triptych.flows.create_job import KeyUsedError, PhotoGoneError
from triptych.job import ImageRequest, Job, JobRequest, UploadArrived, apply
from triptych.runtime import clock
from triptych.settings import settings
from triptych.spending import OrderedTooOftenError, OversizedError, OwnersDayFullError, StacksDayFullError

pytestmark = pytest.mark.usefixtures("configured")
REQUEST = JobRequest(content_type="image/jpeg", size=1)
SOURCE = replace(apply(waiting_job(), UploadArrived("uploads/s/photo.jpg", START), START), job_id="s")


class World:
    """What was done for the orders, in its order."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.stored: Job | None = None
        self.refuses: Exception | None = None
        self.blocked = False
        self.photo: object | None = object()
        self.copied = True

    def create(self, job: Job, _: object) -> Job:
        self.done.append("store")
        if self.refuses:
            raise self.refuses
        return job

    def read(self, *_: object) -> Job | None:
        self.done.append("read")
        if self.blocked:
            raise table.BlockedError
        return self.stored

    def told(self, what: str, answer: Any = None) -> Any:
        def tell(*_: object, **__: object) -> Any:
            self.done.append(what)
            return answer() if answer else None

        return tell


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(clock, "now", lambda: START)
    monkeypatch.setattr(record, "create", world.create)
    monkeypatch.setattr(record, "read", world.read)
    monkeypatch.setattr(record, "read_keyed", world.read)
    monkeypatch.setattr(queues, "send_to_watchdog", world.told("message"))
    monkeypatch.setattr(counts, "check", world.told("check"))
    monkeypatch.setattr(bucket, "look_at", world.told("look", lambda: world.photo))
    monkeypatch.setattr(bucket, "copy_photo", world.told("copy", lambda: world.copied))
    monkeypatch.setattr(orders, "_refused", set())
    return world


def order(key: str | None = None, owner: str = "ann", **rest: Any) -> Job:
    return orders.create_job(owner, REQUEST, key, **rest)


def test_watchdogs_message_is_sent_before_the_job_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(orders, "about_job", logged.append)
    job = order()
    assert world.done == ["message", "store"]
    assert logged == [job.job_id]
    assert job.photo.key == bucket.photo_key(job.job_id, "image/jpeg")


def test_order_has_as_many_images_as_it_names() -> None:
    assert len(order().images) == settings().image_count
    counted = replace(REQUEST, image_count=2)
    assert len(orders.create_job("ann", counted, None).images) == 2
    named = replace(counted, images=(ImageRequest(), ImageRequest(), ImageRequest(), ImageRequest()))
    assert len(orders.create_job("ann", named, None).images) == 4


# ── the photo of another job ──


def test_photo_of_another_job_is_copied(world: World) -> None:
    order(source=SOURCE)
    assert world.done == ["look", "message", "store", "copy"]


def test_order_for_a_photo_that_is_gone_costs_no_message(world: World) -> None:
    world.photo = None
    with pytest.raises(PhotoGoneError):
        order(source=SOURCE)
    assert world.done == ["look"]


def test_photo_that_goes_in_this_moment_is_gone(world: World) -> None:
    world.copied = False
    with pytest.raises(PhotoGoneError):
        order(source=SOURCE)


def test_photo_is_copied_again_only_while_it_is_awaited(world: World) -> None:
    order(source=SOURCE, earlier=replace(waiting_job(), request=REQUEST))
    assert world.done == ["copy"]
    order(source=SOURCE, earlier=replace(SOURCE, request=REQUEST))
    assert world.done == ["copy"]


# ── the key ──


def test_key_names_one_job_of_its_owner(world: World) -> None:
    assert order("key").job_id == order("key").job_id != order("another").job_id
    assert order("key").job_id != order("key", owner="bob").job_id
    assert orders.earlier_job("ann", None) is None
    assert orders.earlier_job("ann", "") is None
    assert "read" not in world.done
    world.stored = SOURCE
    assert orders.earlier_job("ann", "key") is SOURCE


def test_key_of_a_deleted_job_is_used(world: World) -> None:
    world.blocked = True
    with pytest.raises(KeyUsedError):
        orders.earlier_job("ann", "key")


def test_same_order_with_the_same_key_is_the_same_job(world: World) -> None:
    earlier = replace(waiting_job(), request=REQUEST)
    assert order("key", earlier=earlier) is earlier
    with pytest.raises(KeyUsedError):
        order("key", earlier=waiting_job())
    assert world.done == []


def test_order_that_loses_against_the_same_key_takes_the_winner(world: World) -> None:
    world.refuses = table.ConflictError()
    world.stored = replace(waiting_job(), request=REQUEST)
    assert order("key") is world.stored
    world.stored = waiting_job()
    with pytest.raises(KeyUsedError):
        order("key")
    world.stored = None
    with pytest.raises(KeyUsedError):
        order("key")


# ── limits ──


def test_order_that_fits_in_no_day_costs_no_message(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILY_PICTURES", "2")
    settings.cache_clear()
    with pytest.raises(OversizedError):
        order()
    assert world.done == []


@pytest.mark.parametrize(
    ("refusal", "others"),
    [
        (OwnersDayFullError("ann"), False),
        (OrderedTooOftenError("ann"), False),
        (StacksDayFullError("ann"), True),
    ],
)
def test_second_refused_order_is_compared_first(world: World, refusal: Exception, *, others: bool) -> None:
    world.refuses = refusal
    with pytest.raises(type(refusal)):
        order()
    world.done.clear()
    world.refuses = None
    order(owner="bob")
    assert world.done == ([*(["check"] if others else []), "message", "store"])
    world.done.clear()
    order()
    assert world.done == ([*([] if others else ["check"]), "message", "store"])
    world.done.clear()
    order()  # the last one was good
    assert world.done == ["message", "store"]


def test_only_so_many_owners_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert orders.MOST_REMEMBERED > 100  # a few refused owners displace no other one
    monkeypatch.setattr(orders, "MOST_REMEMBERED", 2)
    world.refuses = OwnersDayFullError("")
    for owner, kept in (("a", {"a"}), ("b", {"a", "b"}), ("c", {"c"})):
        with pytest.raises(OwnersDayFullError):
            order(owner=owner)
        assert orders._refused == kept
