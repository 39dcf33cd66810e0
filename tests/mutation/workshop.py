"""A copy of the tree in which mutants are put and tests are run. The checkout itself is never changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

LAYER = Path("layers/triptych/triptych")


class _Server:
    """A process that answers one line of JSON for each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin
        assert process.stdout
        self._jobs = process.stdin
        self._answers = process.stdout
        self._answer()  # it is ready

    def do(self, job: dict[str, Any]) -> dict[str, Any]:
        self._jobs.write(json.dumps(job) + "\n")
        self._jobs.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the process that runs the tests has ended")
        return dict(json.loads(line))


class Workshop:
    """One copy of the tree and the processes that run its tests."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._root = root
        self._stack = stack
        self._cold = stack.enter_context(_server(root, "server"))
        self._warm: _Server | None = None

    def collect(self, files: Sequence[str]) -> None:
        """Import the project and the tests of `files` in a process that `test_in_place` uses."""
        self._warm = self._stack.enter_context(_server(self._root, "warm", *files))

    def test_in_place(
        self, module: str, source: bytes, *, tests: Mapping[str, float], seconds: float
    ) -> str | None:
        """Run `tests` while the functions of a module of the layer have the code of `source`.

        Args:
            module: Its path below the layer's package.
            source: What the module would be.
            tests: The seconds that each test takes.
            seconds: How long all of them may take.

        Returns:
            The first that failed, "" if none did, None if no function has other code.
        """
        assert self._warm
        file = str(self._root / LAYER / module)
        job = {"file": file, "source": source.decode(), "tests": {**tests}, "seconds": seconds}
        failed = self._warm.do(job)["failed"]
        return None if failed is None else str(failed)

    def test(self, files: Sequence[str], *, tests: Sequence[str] = (), seconds: float) -> str:
        """Run `tests` of `files`, or all of them; return the first that failed, or "" if none did."""
        return str(self._cold.do({"files": [*files], "tests": [*tests], "seconds": seconds})["failed"])

    def record(self, file: str, *, seconds: float) -> dict[str, Any]:
        """Run a file of tests; return the time and the lines of the layer of each test."""
        job = {"files": [file], "record": str(LAYER), "seconds": seconds}
        return dict(self._cold.do(job).get("tests", {}))

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


@contextmanager
def taken(shops: SimpleQueue[Workshop]) -> Iterator[Workshop]:
    """Take a free workshop, and give it back at the end."""
    shop = shops.get()
    try:
        yield shop
    finally:
        shops.put(shop)


@contextmanager
def workshop(checkout: Path, folder: Path) -> Iterator[Workshop]:
    """Copy the tree into the empty `folder`, and start its process."""
    for name in files_of(checkout):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(checkout / name, folder / name)
    with ExitStack() as stack:
        yield Workshop(folder, stack)


@contextmanager
def _server(folder: Path, name: str, *arguments: str) -> Iterator[_Server]:
    command = [sys.executable, "-m", f"tests.mutation.{name}", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin
        try:
            yield _Server(process)
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
