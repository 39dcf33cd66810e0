"""Triptych and the Celery task that it replaces, each with an AWS (moto) and a Replicate (the stand-in) of its own.

Both are given the same: two workers, the same photo, the same stand-in with the same faults.
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
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import boto3
import httpx
from botocore.config import Config

from tests import environment
from tests.benchmarks._report import Unavailable
from tests.localcloud import aws, replicate, sample, template
from tests.localcloud.cloud import local_cloud

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKERS = 2
CLIENTS = 8  # that order at once
START_SECONDS = 60
BASELINE = environment.ROOT / "tests/benchmarks/celery_baseline"
BUCKET = "baseline"
ENDED = {"SUCCEEDED", "PARTIAL", "FAILED", "CANCELED", "EXPIRED", "COMPLETED"}
PACKAGE = "tests.benchmarks.celery_baseline"

State = Literal["open", "done", "failed"]


@dataclass(frozen=True)
class Found:
    """What a side says of a job, and the S3 keys of the pictures that it says it has."""

    state: State
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """One of the two, running."""

    stand_in: replicate.StandIn
    s3: Any
    bucket: str
    prepare: Callable[[int], list[Any]]  # so many jobs, of which nothing is missing but `start`
    start: Callable[[list[Any]], list[str]]  # tell that their photos are there; their ids
    look: Callable[[], dict[str, Found]]  # every job, by its id
    glance: Callable[
        [], set[str]
    ]  # jobs that are known to have ended, told without asking AWS: that would cost time
    workers: Callable[[], list[int]]  # the processes that ask for predictions
    moto_pid: int

    def wait(self, jobs: list[str], seconds: float) -> dict[str, Found]:
        """These jobs, once all have ended, or so much time has passed."""
        give_up_at = time.monotonic() + seconds
        while time.monotonic() < give_up_at and not self.glance().issuperset(jobs):
            time.sleep(0.1)  # neither a file nor a database tells that it has changed
        found = self.look()
        return {job: found[job] for job in jobs}

    def objects(self) -> set[str]:
        """The keys of all pictures that lie in S3."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="outputs/")
        return {item["Key"] for page in pages for item in page.get("Contents", [])}

    def moto_cpu(self) -> float:
        """Seconds of CPU that moto has used until now."""
        fields = Path(f"/proc/{self.moto_pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def triptych(parameters: dict[str, str] | None = None, **stand_in: Any) -> Iterator[Side]:
    """The local cloud, with these of the template's parameters; the other arguments are the stand-in's."""
    token = secrets.token_hex(20)
    parameters = {"ServePage": "false", **(parameters or {})}
    photo = sample.photo()
    with ExitStack() as stack:
        server = stack.enter_context(replicate.start(token, **stand_in))
        before = os.environ.get("REPLICATE_API_TOKEN")
        os.environ["REPLICATE_API_TOKEN"] = token
        stack.callback(_put_back, "REPLICATE_API_TOKEN", before)
        cloud = stack.enter_context(local_cloud(parameters, replicate_url=server.url, workers=WORKERS))
        machine = cloud.aws
        session = boto3.Session(machine.access_key_id, machine.secret_access_key, region_name=machine.region)
        config = Config(proxies={})
        s3 = session.client("s3", endpoint_url=machine.endpoint, config=config)
        table = session.client("dynamodb", endpoint_url=machine.endpoint, config=config)
        http = stack.enter_context(httpx.Client(timeout=60, trust_env=False))
        crowd = stack.enter_context(ThreadPoolExecutor(CLIENTS))

        def order(_: int) -> dict[str, Any]:
            answer = http.post(
                f"{cloud.api}/api/v1/jobs",
                headers={"authorization": f"Bearer {cloud.tokens[0]}"},
                json={"content_type": "image/jpeg", "content_length": len(photo)},
            )
            return dict(answer.raise_for_status().json())

        def upload(made: dict[str, Any]) -> str:
            told = made["upload"]
            http.put(told["url"], headers=told["headers"], content=photo).raise_for_status()
            return str(made["job_id"])

        def look() -> dict[str, Found]:
            pages = table.get_paginator("scan").paginate(TableName=cloud.table)
            items = [item for page in pages for item in page["Items"] if "status" in item]
            return {item["job_id"]["S"]: _of_item(item) for item in items}

        def glance() -> set[str]:
            lines = [line for line in cloud.log.read_text().splitlines() if '"job ended"' in line]
            return {json.loads(line)["job_id"] for line in lines}

        yield Side(
            server,
            s3,
            cloud.bucket,
            prepare=lambda jobs: list(crowd.map(order, range(jobs))),
            start=lambda made: list(crowd.map(upload, made)),
            look=look,
            glance=glance,
            workers=lambda: cloud.pids()["generate"],
            moto_pid=next(iter(cloud.servers.values())),
        )


def _of_item(item: dict[str, Any]) -> Found:
    status = item["status"]["S"]
    state: State = "open" if status not in ENDED else "done" if status == "SUCCEEDED" else "failed"
    images = [image["M"] for image in item["images"]["L"]]
    return Found(state, tuple(image["output_key"]["S"] for image in images if "output_key" in image))


def redis_server() -> str:
    """Where Redis is, which the baseline needs.

    Raises:
        Unavailable: it is nowhere.
    """
    found = shutil.which("redis-server")
    if found is None:
        raise Unavailable("the baseline needs redis-server (apt-get install redis-server)")
    return found


@contextmanager
def celery(**stand_in: Any) -> Iterator[Side]:
    """`celery_baseline`: a Celery worker of two processes, uvicorn, Redis and SQLite; the arguments are the stand-in's.

    Raises:
        Unavailable: there is no Redis.
    """
    redis = redis_server()
    python = environment.make(environment.CACHE / "celery", (BASELINE / "requirements.txt",))
    token = secrets.token_hex(20)
    photo = sample.photo()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="triptych-celery-")))
        server = stack.enter_context(replicate.start(token, **stand_in))
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

        run(redis, "--port", str(ports[1]), "--save", "", "--dir", str(folder))
        schema = f"from {PACKAGE}.database import Base, engine; Base.metadata.create_all(engine)"
        subprocess.run([python, "-c", schema], cwd=environment.ROOT, env=settings, check=True)
        uvicorn = ["uvicorn", f"{PACKAGE}.api:app", "--port", str(ports[0]), "--no-access-log"]
        run(str(python), "-m", *uvicorn)
        worker = ["celery", "-A", f"{PACKAGE}.tasks", "worker", "--concurrency", str(WORKERS)]
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

        def workers() -> list[int]:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            return [int(pid) for pid in children.read_text().split()]

        _await(lambda: http.get(f"{api}/docs").is_success and len(workers()) == WORKERS)
        yield Side(server, s3, BUCKET, prepare, start, look, glance, workers, moto.process.pid)


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
        TimeoutError: it does not.
    """
    give_up_at = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up_at:
        try:
            if there():
                return
        except (httpx.TransportError, OSError):
            pass
        time.sleep(0.1)  # a server that is not there yet tells nobody when it is
    raise TimeoutError("the baseline did not come up")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
