"""The AWS services of the local cloud: moto, as a process of its own.

`python -m tests.localcloud.aws --port 0` serves on 127.0.0.1, prints `{"endpoint": …}` on one line when it listens,
and ends on SIGTERM, on SIGINT, and when its standard input is a pipe that closes, as it does when its parent dies.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import FrameType  # a signal handler's argument
from typing import IO

ACCESS_KEY_ID = "test"
SECRET_ACCESS_KEY = "test"
ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Aws:
    """A running server."""

    endpoint: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def start(
    *,
    account: str = ACCOUNT,
    access_key_id: str = ACCESS_KEY_ID,
    secret_access_key: str = SECRET_ACCESS_KEY,
    stderr: IO[str] | None = None,
) -> Aws:
    """Start a server on a free port and wait until it listens. `stderr` is where its tracebacks go, if any.

    Raises:
        RuntimeError: it ended instead.
    """
    command = [sys.executable, "-m", "tests.localcloud.aws", "--account", account]
    command += ["--access-key-id", access_key_id, "--secret-access-key", secret_access_key]
    process = subprocess.Popen(  # the pipe's other end is ours alone: it closes when we die
        command,
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,  # a Ctrl-C is for the parent, which stops things in order
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the AWS server ended with exit code {process.wait()}")
    return Aws(json.loads(line)["endpoint"], process)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.localcloud.aws", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--account", default=ACCOUNT)
    parser.add_argument("--access-key-id", default=ACCESS_KEY_ID)
    parser.add_argument("--secret-access-key", default=SECRET_ACCESS_KEY)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    os.environ |= {
        "MOTO_ACCOUNT_ID": arguments.account,
        "MOTO_DISABLE_GLOBAL_CORS": "true",
        "MOTO_COGNITO_IDP_USER_POOL_ENABLE_TOTP": "true",  # else moto accepts any code
        "AWS_ACCESS_KEY_ID": arguments.access_key_id,
        "AWS_SECRET_ACCESS_KEY": arguments.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    warnings.simplefilter("ignore")  # moto's own business
    from tests.localcloud import moto_server  # noqa: PLC0415  # moto reads the environment when it is imported

    secrets = {arguments.access_key_id: arguments.secret_access_key}
    server = moto_server.make(arguments.port, arguments.account, secrets)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    print(json.dumps({"endpoint": f"http://127.0.0.1:{server.server_port}"}), flush=True)  # noqa: T201  # for the parent
    sys.stdout = sys.stderr  # moto prints
    server.serve_forever()


def _end(signum: int, frame: FrameType | None) -> None:
    os._exit(0)  # at once: there is nothing to save, and requests that wait hold nobody up


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    _main()
