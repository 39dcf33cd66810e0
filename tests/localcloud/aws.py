"""The local cloud's AWS services: moto in its own process.

`python -m tests.localcloud.aws --port 0` listens on 127.0.0.1 and then prints `{"endpoint": …}` on one line. It ends
on SIGTERM and SIGINT. If its standard input is a pipe, it also ends when the pipe closes, for example because its
parent died.
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
    """A running AWS server."""

    endpoint: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """End the server and wait for it."""
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
    """Start a server on a free port and wait until it listens.

    Args:
        account: The account id.
        access_key_id: The key that clients sign with.
        secret_access_key: The secret of that key.
        stderr: The file for its tracebacks.

    Raises:
        RuntimeError: The server ended instead.
    """
    command = [sys.executable, "-m", "tests.localcloud.aws", "--account", account]
    command += ["--access-key-id", access_key_id, "--secret-access-key", secret_access_key]
    process = (
        subprocess.Popen(  # only this process holds the pipe's other end, so it closes when this process dies
            command,
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only the parent, which stops everything in order
        )
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
    warnings.simplefilter("ignore")  # moto's warnings are not about this project
    from tests.localcloud import moto_server  # noqa: PLC0415  # moto reads the environment on import

    secrets = {arguments.access_key_id: arguments.secret_access_key}
    server = moto_server.make(arguments.port, arguments.account, secrets)
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    print(json.dumps({"endpoint": f"http://127.0.0.1:{server.server_port}"}), flush=True)  # noqa: T201  # the parent reads it
    sys.stdout = sys.stderr  # moto prints to stdout, which the parent reads
    server.serve_forever()


def _end(signum: int, frame: FrameType | None) -> None:
    os._exit(0)  # at once: there is nothing to save, and waiting requests would delay a normal exit


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    _main()
