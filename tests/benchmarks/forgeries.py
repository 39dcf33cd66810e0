"""A minute of forged webhooks at the API's limit, while Replicate hangs and signed webhooks arrive.

The local cloud runs with up to 64 processes for each function. Three clouds are attacked one after the other:
Replicate hangs on the secret's route, where a job has let one process know the signing secret; the same, where no process
knows it; Replicate hangs on the route that creates predictions. Each time, 250 forgeries a second arrive for 60 s, of four kinds: unsigned, stale, signed with another key
for an unknown job, and the same for a running job. Meanwhile jobs are created, whose webhooks are signed. On a slower
machine, set FORGERIES_PER_SECOND; the first figure says what the machine managed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.benchmarks._report import Figure
from tests.localcloud import replicate
from tests.localcloud.driving import serving
from tests.localcloud.replicate_faults import Fault
from tests.support.replicate import webhooks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.localcloud.driving import Serving
    from tests.support.replicate.api import Route

SECONDS = 60
PER_SECOND = int(os.environ.get("FORGERIES_PER_SECOND", "250"))
JOB_SECONDS = 6  # from one job to the next
HANG_SECONDS = 30
WORKERS = 64
SAMPLE_SECONDS = 0.25
STALE_SECONDS = 3600
TOKEN = "r8_the_token_of_this_benchmark"  # the stand-in's
PATH = "/api/v1/webhooks/replicate"
SECRET = "whsec_" + base64.b64encode(b"the key of a forger").decode()
BODY = json.dumps(
    {"id": "forged", "status": "succeeded", "output": "https://replicate.delivery/x.png"}
).encode()
HANDFUL = 5


def measure() -> Iterator[Figure]:
    yield from _under_attack("the secret's route hangs", "secret")
    yield from _under_attack("… and no process knows the secret", "secret", cold=True)
    yield from _under_attack("the creation of predictions hangs", "create")


def _under_attack(name: str, route: Route, *, cold: bool = False) -> Iterator[Figure]:
    with replicate.start(TOKEN, allow_http_webhooks=True) as stand_in:
        options = ["--replicate-url", stand_in.url, "--workers", str(WORKERS)]
        with serving(*options, environment={"REPLICATE_API_TOKEN": TOKEN}) as cloud:
            if not cold:
                cloud.end_of(cloud.start())
            yield from _attacked(cloud, stand_in, route, name, cold=cold)


def _attacked(
    cloud: Serving, stand_in: replicate.StandIn, route: Route, name: str, *, cold: bool
) -> Iterator[Figure]:
    ledger = stand_in.ledger()
    before = {one.id for one in ledger.predictions}
    secrets = ledger.requests.get("secret", 0)
    stand_in.set_faults(Fault(kind="hang", on=route, seconds=HANG_SECONDS))
    attack = _Attack(cloud.api, cloud)
    attacking = threading.Thread(target=attack.run)
    attacking.start()
    jobs: list[str] = []
    while attacking.is_alive():
        jobs.append(cloud.start())
        attack.job_id = jobs[-1]
        attacking.join(JOB_SECONDS)
    secrets = stand_in.ledger().requests.get("secret", 0) - secrets
    stand_in.set_faults()
    states = Counter(cloud.end_of(job_id, within=180)["status"] for job_id in jobs)
    sent = [one.deliveries for one in stand_in.ledger().predictions if one.id not in before]
    seconds = [took for _, took in attack.answers]
    statuses = Counter(status for status, _ in attack.answers)
    yield Figure(f"{name}: forgeries a second", len(seconds) / attack.lasted, "", "planned", PER_SECOND)
    yield Figure("forgeries refused with 401", statuses[401], "", "sent", len(seconds), at_most=1)
    yield Figure("… answered with 429 by API Gateway", statuses[429], "")
    yield Figure("… answered otherwise", len(seconds) - statuses[401] - statuses[429], "")
    yield Figure("answered within, median", 1000 * median(seconds), "ms")
    yield Figure("answered within, 99 %", 1000 * quantiles(seconds, n=100)[-1], "ms")
    handful = None if cold else HANDFUL
    yield Figure("calls open at once, mean", sum(seconds) / attack.lasted, "", at_most=handful)
    # A process is held by the call that it answers. The local cloud keeps those that it started for a peak, and they idle.
    yield Figure("calls open at once, median", median(attack.open_calls), "", at_most=handful)
    yield Figure("webhook processes, median, with idle ones", median(attack.processes), "")
    yield Figure("webhook processes, at most", max(attack.processes), "")
    yield Figure("requests for the secret", secrets, "", "deliveries", sum(map(len, sent)), at_most=1)
    first = sum(bool(tries) and tries[0].status == 200 for tries in sent)  # OK
    got_in = sum(any(one.status == 200 for one in tries) for tries in sent)  # OK
    least = None if route == "secret" else 0.9  # a process that does not know the secret puts them off
    yield Figure("signed webhooks that got in at once", first, "", "sent", len(sent))
    yield Figure("signed webhooks that got in", got_in, "", "sent", len(sent), at_least=least)
    yield Figure("jobs that succeeded", states["SUCCEEDED"], "", "jobs", len(jobs), at_least=1)


@dataclass
class _Attack:
    """A forger who sends each call at its time, whether or not the earlier ones were answered."""

    api: str
    cloud: Serving
    job_id: str = ""  # a running job
    lasted: float = 0.0
    answers: list[tuple[int, float]] = field(default_factory=list)  # status and seconds
    processes: list[int] = field(default_factory=list)
    open_calls: list[int] = field(default_factory=list)
    _open: int = 0
    _idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    def run(self) -> None:
        done = threading.Event()
        sampling = threading.Thread(target=self._sample, args=(done,))
        sampling.start()
        try:
            asyncio.run(self._run())
        finally:
            done.set()
            sampling.join()

    def _sample(self, done: threading.Event) -> None:
        while not done.wait(SAMPLE_SECONDS):
            self.open_calls.append(self._open)
            self.processes.append(len(self.cloud.pids()["webhook"]))

    async def _run(self) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            for number in range(PER_SECOND * SECONDS):
                await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
                if time.monotonic() > began + SECONDS:
                    break
                calls.create_task(self._call(self._forged(number)))
            self.lasted = time.monotonic() - began
        for _, writer in self._idle:
            writer.close()

    def _forged(self, number: int) -> bytes:
        now = int(time.time())
        kind = number % 4
        job_id = self.job_id if kind == 3 else str(uuid.uuid4())  # the last of the four kinds
        headers: dict[str, Any] = {"host": urlsplit(self.api).netloc, "content-type": "application/json"}
        if kind:
            at = now - STALE_SECONDS if kind == 1 else now
            headers |= webhooks.headers(SECRET, f"msg_{number}", at, BODY)
        headers["content-length"] = len(BODY)
        lines = [f"POST {PATH}?job_id={job_id}&image=0&attempt=1 HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + BODY

    async def _call(self, request: bytes) -> None:
        began = time.monotonic()
        self._open += 1
        try:
            status = await self._answer(request)
        except (OSError, asyncio.IncompleteReadError):
            status = 0
        finally:
            self._open -= 1
        self.answers.append((status, time.monotonic() - began))

    async def _answer(self, request: bytes) -> int:
        address = urlsplit(self.api)
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(
            int(line.partition(":")[2]) for line in head.splitlines() if line.startswith("content-length:")
        )
        await reader.readexactly(length)
        self._idle.append((reader, writer))
        return int(head.split()[1])
