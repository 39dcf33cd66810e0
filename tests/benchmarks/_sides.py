"""Triptych and the Celery task that it replaces, each with its own AWS (moto) and its own stand-in for Replicate.

Both sides have the same number of workers, the same photo and the same faults.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import boto3
import httpx
from botocore.config import Config

from tests import environment
from tests.benchmarks._report import UnavailableError
from tests.localcloud import aws, replicate, sample, template
from tests.localcloud.cloud import local_cloud

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKERS = 2
CLIENTS = 8  # concurrent clients
START_SECONDS = 60
BASELINE = environment.ROOT / "tests/benchmarks/celery_baseline"
BUCKET = "baseline"
ENDED = {"SUCCEEDED", "PARTIAL", "FAILED", "CANCELED", "EXPIRED", "COMPLETED"}
PACKAGE = "tests.benchmarks.celery_baseline"
WORK, MOTO = "its own code", "moto"  # parts of a side

State = Literal["open", "done", "failed"]


@dataclass(frozen=True)
class Found:
    """A job as a side reports it, with the S3 keys of its outputs."""

    state: State
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """One running side."""

    stand_in: replicate.StandIn
    s3: Any
    bucket: str
    prepare: Callable[..., list[Any]]  # creates so many jobs; Triptych's also takes the number of an owner
    start: Callable[[list[Any]], list[str]]  # starts prepared jobs; returns their ids
    look: Callable[[], dict[str, Found]]  # returns every job, by id
    has_succeeded: Callable[[str], bool]  # asks for a job as a client does, once it has ended
    glance: Callable[
        [], set[str]
    ]  # returns the ended jobs, without requests to AWS, which would take CPU time
    workers: Callable[[], list[int]]  # returns the processes that request predictions
    parts: Callable[[], dict[str, list[int]]]  # returns the processes of each part
    dead_letters: Callable[[], int]  # returns the number of dead letters

    def wait(self, jobs: list[str], seconds: float) -> dict[str, Found]:
        """Return these jobs when all have ended or `seconds` have passed."""
        self.ends(jobs, seconds)
        found = self.look()
        return {job: found[job] for job in jobs}

    def ends(self, jobs: list[str], seconds: float) -> list[float]:
        """Return the times, by time.monotonic and in order, of the ends that were seen within `seconds`."""
        seen: list[float] = []
        give_up_at = time.monotonic() + seconds
        while len(seen) < len(jobs) and (now := time.monotonic()) < give_up_at:
            seen += [now] * (len(self.glance().intersection(jobs)) - len(seen))
            time.sleep(0.1)  # there is no event to wait for
        return seen

    def objects(self) -> set[str]:
        """Return the keys of all outputs in S3."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="outputs/")
        return {item["Key"] for page in pages for item in page.get("Contents", [])}

    def cpu(self) -> dict[str, float]:
        """Return the seconds of CPU that each part has used."""
        return {part: sum(map(_cpu, pids)) for part, pids in self.parts().items()}

    def asking(self, seconds: float, but: set[int]) -> tuple[int, int]:
        """Return a worker and its port. The stand-in delays the worker's create request with a `hang`.

        Args:
            seconds: The longest time to wait for such a worker.
            but: The ports of workers that are known already.

        Raises:
            TimeoutError: No worker sent a create request.
        """
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at:
            for port in set(self.stand_in.ledger().held) - but:
                return _owner(port, self.workers()), port
            time.sleep(0.05)  # there is no event to wait for
        raise TimeoutError("no worker sent a create request")


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process and its ended children have used: children open photos and outputs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # utime, stime, cutime, cstime


def _owner(port: int, pids: list[int]) -> int:
    """Return the process that has the connection with this local port. See proc_net_tcp(5)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}")}
    for pid in pids:
        if not sockets.isdisjoint(_open_files(pid)):
            return pid
    raise ProcessLookupError(f"none of {pids} has port {port}")


def _open_files(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # the process has closed it since
            yield link.readlink().name


@contextmanager
def triptych(
    parameters: dict[str, str] | None = None,
    *,
    workers: int = WORKERS,
    photo: bytes | None = None,
    **stand_in: Any,
) -> Iterator[Side]:
    """Run Triptych in the local cloud.

    Args:
        parameters: Template parameters.
        workers: Processes of each function.
        photo: The photo to upload; None is the sample.
        stand_in: Arguments of the stand-in for Replicate.
    """
    token = secrets.token_hex(20)
    # One owner creates more jobs than the default limit for a day.
    parameters = {
        "ServePage": "false",
        "DailyPicturesPerOwner": "0",
        "DailyPictures": "0",
        "MaxActiveJobsPerOwner": "0",
        "GenerateConcurrency": "20",  # as in an older account, so that only `workers` is a limit
        "WatchdogConcurrency": "20",
        "WaitingConcurrency": "8",
        **(parameters or {}),
    }
    photo = photo or sample.photo()
    with ExitStack() as stack:
        server = stack.enter_context(replicate.start(token, allow_http_webhooks=True, **stand_in))
        before = os.environ.get("REPLICATE_API_TOKEN")
        os.environ["REPLICATE_API_TOKEN"] = token
        stack.callback(_put_back, "REPLICATE_API_TOKEN", before)
        cloud = stack.enter_context(local_cloud(parameters, replicate_url=server.url, workers=workers))
        machine = cloud.aws
        session = boto3.Session(machine.access_key_id, machine.secret_access_key, region_name=machine.region)
        config = Config(proxies={})
        s3 = session.client("s3", endpoint_url=machine.endpoint, config=config)
        table = session.client("dynamodb", endpoint_url=machine.endpoint, config=config)
        sqs = session.client("sqs", endpoint_url=machine.endpoint, config=config)
        log = stack.enter_context(cloud.log.open("rb"))
        ended: set[str] = set()
        unread = b""
        http = stack.enter_context(httpx.Client(timeout=60, trust_env=False))
        crowd = stack.enter_context(ThreadPoolExecutor(CLIENTS))

        def create(owner: int) -> dict[str, Any]:
            answer = http.post(
                f"{cloud.api}/api/v1/jobs",
                headers={"authorization": f"Bearer {cloud.tokens[owner]}"},
                json={"content_type": "image/jpeg", "content_length": len(photo)},
            )
            return dict(answer.raise_for_status().json())

        def upload(created: dict[str, Any]) -> str:
            target = created["upload"]
            http.put(target["url"], headers=target["headers"], content=photo).raise_for_status()
            return str(created["job_id"])

        def look() -> dict[str, Found]:
            pages = table.get_paginator("scan").paginate(TableName=cloud.table)
            items = [item for page in pages for item in page["Items"] if "status" in item]
            return {item["job_id"]["S"]: _of_item(item) for item in items}

        def glance() -> set[str]:
            nonlocal unread
            *lines, unread = (unread + log.read()).split(b"\n")
            ended.update(json.loads(line)["job_id"] for line in lines if b'"job ended"' in line)
            return ended

        def has_succeeded(job: str) -> bool:
            if job not in glance():  # polls in a tight loop would take CPU time from the functions
                return False
            token = {"authorization": f"Bearer {cloud.tokens[0]}"}
            answer = http.get(f"{cloud.api}/api/v1/jobs/{job}", headers=token).raise_for_status()
            return bool(answer.json()["status"] == "SUCCEEDED")

        def parts() -> dict[str, list[int]]:
            functions = [pid for pids in cloud.pids().values() for pid in pids]
            return {
                WORK: functions,
                MOTO: [next(iter(cloud.servers.values()))],
                "the local cloud and its clients": [os.getpid()],
            }

        def dead_letters() -> int:
            queues = [url for name, url in cloud.stack.outputs.items() if name.endswith("DeadLetterQueueUrl")]
            found = [sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]) for url in queues]
            return sum(int(one["Attributes"]["ApproximateNumberOfMessages"]) for one in found)

        yield Side(
            server,
            s3,
            cloud.bucket,
            prepare=lambda jobs, owner=0: list(crowd.map(create, [owner] * jobs)),
            start=lambda created: list(crowd.map(upload, created)),
            look=look,
            has_succeeded=has_succeeded,
            glance=glance,
            workers=lambda: cloud.pids()["generate"],
            parts=parts,
            dead_letters=dead_letters,
        )
        cloud.log.unlink()  # 1,000 jobs write 24 MB; a failure keeps the file


def _of_item(item: dict[str, Any]) -> Found:
    status = item["status"]["S"]
    state: State = "open" if status not in ENDED else "done" if status == "SUCCEEDED" else "failed"
    images = [image["M"] for image in item["images"]["L"]]
    return Found(state, tuple(image["output_key"]["S"] for image in images if "output_key" in image))


def redis_server() -> str:
    """Return the path of redis-server, which the baseline needs.

    Raises:
        UnavailableError: redis-server is not installed.
    """
    found = shutil.which("redis-server")
    if found is None:
        raise UnavailableError("its baseline needs redis-server (apt-get install redis-server)")
    return found


@contextmanager
def celery(*, workers: int = WORKERS, **stand_in: Any) -> Iterator[Side]:
    """Run `celery_baseline`: a Celery worker, uvicorn, Redis and SQLite.

    Args:
        workers: Processes of the Celery worker.
        stand_in: Arguments of the stand-in for Replicate.

    Raises:
        UnavailableError: redis-server is not installed.
    """
    redis = redis_server()
    python = environment.make(environment.CACHE / "celery", (BASELINE / "requirements.txt",))
    token = secrets.token_hex(20)
    photo = sample.photo()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="triptych-celery-")))
        server = stack.enter_context(replicate.start(token, allow_http_webhooks=True, **stand_in))
        moto = aws.start()
        stack.callback(moto.stop)
        ports = _free_ports(2)
        api = f"http://127.0.0.1:{ports[0]}"
        settings = {
            **os.environ,
            "DATABASE_URL": f"sqlite:///{folder}/jobs.sqlite",
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{ports[1]}/0",
            "API_BASE_URL": api,
            "REPLICATE_BASE_URL": server.url,
            "REPLICATE_API_TOKEN": token,
            "S3_BUCKET": BUCKET,
            "AWS_ENDPOINT_URL": moto.endpoint,
            "AWS_REGION": template.REGION,
            "AWS_DEFAULT_REGION": template.REGION,
            "AWS_ACCESS_KEY_ID": aws.ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": aws.SECRET_ACCESS_KEY,
        }
        s3 = boto3.Session(aws.ACCESS_KEY_ID, aws.SECRET_ACCESS_KEY, region_name=template.REGION).client(
            "s3", endpoint_url=moto.endpoint, config=Config(proxies={})
        )
        s3.create_bucket(Bucket=BUCKET)

        def run(*command: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{Path(command[2]).name}.log").open("wb"))
            process = subprocess.Popen(
                command, cwd=environment.ROOT, env=settings, stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(_end, process)
            return process

        broker = run(redis, "--port", str(ports[1]), "--save", "", "--dir", str(folder))
        schema = f"from {PACKAGE}.database import Base, engine; Base.metadata.create_all(engine)"
        subprocess.run([python, "-c", schema], cwd=environment.ROOT, env=settings, check=True)
        uvicorn = ["uvicorn", f"{PACKAGE}.api:app", "--port", str(ports[0]), "--no-access-log"]
        web = run(str(python), "-m", *uvicorn)
        worker = ["celery", "-A", f"{PACKAGE}.tasks", "worker", "--concurrency", str(workers)]
        process = run(str(python), "-m", *worker, "--loglevel", "INFO")
        http = stack.enter_context(httpx.Client(timeout=60, trust_env=False))
        crowd = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        database = stack.enter_context(closing(sqlite3.connect(folder / "jobs.sqlite", timeout=30)))

        def prepare(jobs: int) -> list[str]:
            ids = [str(uuid.uuid4()) for _ in range(jobs)]
            keys = [f"uploads/{job}/photo.jpg" for job in ids]
            list(crowd.map(lambda key: s3.put_object(Bucket=BUCKET, Key=key, Body=photo), keys))
            insert = "insert into jobs values (?, 'PENDING', ?, null, datetime(), datetime())"
            with database:
                database.executemany(insert, zip(ids, keys, strict=True))
            return ids

        def start(ids: list[str]) -> list[str]:
            list(crowd.map(lambda job: http.post(f"{api}/uploads/{job}").raise_for_status(), ids))
            return ids

        def look() -> dict[str, Found]:
            keys: dict[str, list[str]] = {}
            for job, key in database.execute("select job_id, s3_key from images where s3_key is not null"):
                keys.setdefault(job, []).append(key)
            rows = database.execute("select id, status from jobs").fetchall()
            return {job: Found(_state(status), tuple(keys.get(job, ()))) for job, status in rows}

        def glance() -> set[str]:
            return {job for job, found in look().items() if found.state != "open"}

        def asking() -> list[int]:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            return [int(pid) for pid in children.read_text().split()]

        def parts() -> dict[str, list[int]]:
            own = [broker.pid, web.pid, process.pid, *asking()]
            return {WORK: own, MOTO: [moto.process.pid], "its clients": [os.getpid()]}

        _await(lambda: http.get(f"{api}/docs").is_success and len(asking()) == workers)
        # Celery has no dead letters: a message is acknowledged when a worker takes the task.
        yield Side(
            server,
            s3,
            BUCKET,
            prepare,
            start,
            look,
            partial(_is_completed, database),
            glance,
            asking,
            parts,
            dead_letters=lambda: 0,
        )


def _is_completed(database: sqlite3.Connection, job: str) -> bool:
    (status,) = database.execute("select status from jobs where id = ?", (job,)).fetchone()
    return bool(status == "COMPLETED")


def _state(status: str) -> State:
    return "open" if status not in ENDED else "done" if status == "COMPLETED" else "failed"


def _put_back(name: str, value: str | None) -> None:
    if value is None:
        del os.environ[name]
    else:
        os.environ[name] = value


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _await(there: Callable[[], bool]) -> None:
    """Wait until a server answers.

    Raises:
        TimeoutError: The server does not answer.
    """
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        try:
            if there():
                return
        except (httpx.TransportError, OSError):
            pass
        time.sleep(0.1)  # there is no event to wait for
    raise TimeoutError("the baseline did not start")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
