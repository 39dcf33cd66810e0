"""MiniStack, an AWS emulator by another project, in its own environment and process group."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx

from tests import environment
from tests.rehearsal import gaps

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = environment.ROOT / "tests/rehearsal/requirements.txt"
GAPS = Path(__file__).with_name("gaps.py")
REGION = "us-east-1"
START_SECONDS = 60
STOP_SECONDS = 10


@dataclass(frozen=True)
class Ministack:
    """A running MiniStack."""

    endpoint: str
    log: Path
    group: int  # process group of the server and of all functions

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that point an SDK or a command at this account."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def end_of_log(self, lines: int = 200) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def client(self, service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


@contextmanager
def running(folder: Path, *, records: bool = False, closed: bool = True) -> Iterator[Ministack]:
    """Run MiniStack on a free port of 127.0.0.1 until the context ends, with its files and log in `folder`.

    Args:
        folder: The folder for MiniStack's files.
        records: Whether CloudTrail records each request.
        closed: Whether gaps.py closes MiniStack's gaps.

    Raises:
        RuntimeError: MiniStack did not start. The message holds its log.
    """
    python = environment.make(environment.CACHE / "ministack", (LOCK,))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = folder / "ministack.log"
    settings = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "s3"),
        "BIND_HOST": "127.0.0.1",  # the default is every interface
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",  # otherwise it listens on 0.0.0.0:8883
        "SFTP_ENABLED": "0",  # otherwise a Transfer server listens on 0.0.0.0:2222
        "LAMBDA_EXECUTOR": "local",  # processes, not containers
        "MINISTACK_REGION": REGION,
        "CLOUDTRAIL_RECORDING": "1" if records else "0",
        "AUTH": "true",  # apply the policies of roles, buckets and queues, and a bucket's CORS; "test" is the root's key
    }
    with log.open("wb") as output:
        # -P, because the folder of gaps.py holds a ministack.py too. MiniStack ends when its stdin closes.
        server = subprocess.Popen(
            [python, "-P", GAPS, *([] if closed else [gaps.OPEN])],
            cwd=folder,
            env=settings,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        _await_start(server, endpoint, log)
        cloud = Ministack(endpoint, log, server.pid)
        try:
            yield cloud
        except Exception as error:
            error.add_note(f"The end of MiniStack's log:\n{cloud.end_of_log()}")
            raise
    finally:
        _stop(server)


def _await_start(server: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < end and server.poll() is None:
            try:
                if client.get(f"{endpoint}/_ministack/ready").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise RuntimeError(f"MiniStack did not start:\n{log.read_text(errors='replace')}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Kill the server and the functions' processes; they hold nothing worth saving.

    Raises:
        RuntimeError: A process did not end.
    """
    os.killpg(server.pid, signal.SIGKILL)  # the group exists until the server is waited for
    server.wait()
    if server.stdin:
        server.stdin.close()
    end = time.monotonic() + STOP_SECONDS
    while is_alive(server.pid):
        if time.monotonic() > end:
            raise RuntimeError(f"process group {server.pid} of MiniStack did not end")
        time.sleep(0.05)


def is_alive(group: int) -> bool:
    """Return whether the process group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
