"""Third-party packages for functions, installed once into folders under `.cache`."""

from __future__ import annotations

import compileall
import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.environment import CACHE, ROOT, fingerprint, uv

# Amazon's runtime interface client and its dependencies, from the development lock.
RUNTIME = ("awslambdaric", "simplejson", "snapshot-restore-py")


def import_path(folder: Path) -> list[Path]:
    """Return a layer's import path: its folder, and the folder of the packages that its requirements.txt locks.

    Raises:
        subprocess.CalledProcessError: uv could not install the packages; stderr holds its message.
    """
    lock = folder / "requirements.txt"
    if not lock.exists():
        return [folder]
    trim = folder / "trim.py"
    made_of = (lock, trim) if trim.exists() else (lock,)
    target = CACHE / "layers" / f"{folder.name}-{fingerprint(*made_of)}"
    return [folder, _installed(lock, target, made_of[1:])]


def compile_sources(folder: Path) -> None:
    """Write the bytecode of a folder's modules, because a function's process cannot write it.

    A module that does not compile fails in the process, as on Lambda.
    """
    compileall.compile_dir(folder, quiet=2)


def runtime() -> Path:
    """Return a folder with the runtime interface client that tests/requirements.txt pins, for Lambda's /var/runtime.

    Raises:
        ValueError: The lock lacks one of the packages.
        subprocess.CalledProcessError: uv could not install the packages; stderr holds its message.
    """
    text = (ROOT / "tests/requirements.txt").read_text()
    pins: list[str] = []
    for name in RUNTIME:
        pin = re.search(rf"^{name}==.*(?:\n +--hash.*)*", text, re.MULTILINE)
        if pin is None:
            raise ValueError(f"tests/requirements.txt does not pin {name}")
        pins.append(pin[0].removesuffix(" \\"))
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        lock = Path(scratch, "requirements.txt")
        lock.write_text("\n".join(pins))
        return _installed(lock, CACHE / f"runtime-{fingerprint(lock)}")


def _installed(lock: Path, target: Path, scripts: tuple[Path, ...] = ()) -> Path:
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        # Compiling takes most of a cold start. Unchecked bytecode stays valid whatever the source's time.
        command = [uv(), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--compile-bytecode"]
        command += [
            "--python",
            sys.executable,
            "--target",
            f"{scratch}/packages",
            "--requirements",
            str(lock),
        ]
        environment = {**os.environ, "PYC_INVALIDATION_MODE": "UNCHECKED_HASH"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        for script in scripts:  # the layer's Makefile runs them too
            subprocess.run([sys.executable, str(script), f"{scratch}/packages"], check=True)
        with suppress(OSError):  # another process has installed the same packages first
            Path(scratch, "packages").rename(target)
    return target
