"""A copy of the tree in which mutants are put and tests are run. The checkout itself is never changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

LAYER = Path("layers/triptych/triptych")


class Workshop:
    """One copy of the tree and the process that runs its tests."""

    def __init__(self, root: Path, jobs: IO[str], answers: IO[str]) -> None:
        self._root = root
        self._jobs = jobs
        self._answers = answers
        self._answer()  # it is ready

    def test(self, files: Sequence[str], *, tests: Sequence[str] = (), seconds: float) -> str:
        """Run `tests` of `files`, or all of them; return the first that failed, or "" if none did."""
        return str(self._do({"files": [*files], "tests": [*tests], "seconds": seconds})["failed"])

    def record(self, file: str, *, seconds: float) -> dict[str, Any]:
        """Run a file of tests; return the time and the lines of the layer of each test."""
        job = {"files": [file], "record": str(LAYER), "seconds": seconds}
        return dict(self._do(job).get("tests", {}))

    @contextmanager
    def changed(self, module: str, source: bytes) -> Iterator[None]:
        """Replace a module of the layer until the context ends."""
        file = self._root / LAYER / module
        before, stat = file.read_bytes(), file.stat()
        file.write_bytes(source)
        try:
            yield
        finally:
            file.write_bytes(before)
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def _do(self, job: dict[str, Any]) -> dict[str, Any]:
        self._jobs.write(json.dumps(job) + "\n")
        self._jobs.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the process that runs the tests has ended")
        return dict(json.loads(line))


@contextmanager
def workshop(checkout: Path, folder: Path) -> Iterator[Workshop]:
    """Copy the tree into the empty `folder`, and start its process."""
    for name in files_of(checkout):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(checkout / name, folder / name)
    command = [sys.executable, "-m", "tests.mutation.server"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield Workshop(folder, process.stdin, process.stdout)
        finally:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def files_of(checkout: Path) -> list[str]:
    """Return the files of the tree that git does not ignore, also those that are not committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (checkout / name).is_file()]
