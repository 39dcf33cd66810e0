"""The development environment. The commands that need it create and update it.

This module uses only the standard library of Python 3.9 or later, because it runs before anything is installed.

* `.venv` holds the packages of two locks: `layers/dependencies/requirements.txt` (run time) and
  `tests/requirements.txt` (development).
* `.cache/uv` holds the pinned uv, installed by its hash, unless the machine has the same version.

`python3 -m tests.environment` only sets up the environment. `python3 -m tests.localcloud` and `python3 -m tests` set it
up first.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
LOCKS = (ROOT / "layers/dependencies/requirements.txt", ROOT / "tests/requirements.txt")
UV_LOCK = ROOT / "tests/uv/requirements.txt"
# Trust the system's certificates, as pip does, because a company's proxy may sign with its own.
os.environ.setdefault("UV_SYSTEM_CERTS", "1")


def fingerprint(*files: Path) -> str:
    """Return a short hash of the files' contents. Anything made from the files is current while the hash is the same."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def uv() -> str:
    """Return the pinned uv: the one under `.cache/uv`, the machine's own if it has the same version, or a new one."""
    private = CACHE / "uv" / ("Scripts" if os.name == "nt" else "bin") / "uv"
    pinned = uv_version()
    for candidate in (str(private), "uv"):
        if _version(candidate) == pinned:
            return candidate
    _say(f"installing uv {pinned}")
    subprocess.run([sys.executable, "-m", "venv", str(CACHE / "uv")], check=True)
    pip = [str(private.with_name("python")), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    hashed = ["--require-hashes", "--only-binary=:all:", "--no-deps", "--requirement", str(UV_LOCK)]
    subprocess.run([*pip, *hashed], check=True)
    return str(private)


def uv_version() -> str:
    """Return the version of uv that the lock pins."""
    return UV_LOCK.read_text().partition("==")[2].split()[0]


def _version(command: str) -> str | None:
    """Return the version of a uv, or None if it does not run."""
    try:
        # A pyenv shim can be on PATH and still refuse to run here.
        done = subprocess.run([command, "--version"], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    _, _, rest = done.stdout.partition(" ")
    return rest.split(" ")[0].strip()


def make(venv: Path = VENV, locks: tuple[Path, ...] = LOCKS) -> Path:
    """Install exactly the packages of `locks` into `venv`, unless they are there; return its Python.

    Raises:
        subprocess.CalledProcessError: uv failed; stderr holds its message.
    """
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = venv / "locks"
    current = fingerprint(*locks)
    if python.exists() and stamp.exists() and stamp.read_text() == current:
        return python
    tool = uv()
    _say(f"installing the locked packages into {venv.relative_to(ROOT)}")
    environment = {**os.environ, "VIRTUAL_ENV": str(venv)}
    subprocess.run([tool, "venv", "--quiet", "--allow-existing", str(venv)], cwd=ROOT, check=True)
    sync = [tool, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), *map(str, locks)]
    subprocess.run(sync, cwd=ROOT, env=environment, check=True)
    stamp.write_text(current)
    return python


def ensure(module: str) -> None:
    """Update `.venv`, and restart `module` in it if this is another Python."""
    python = made()
    if Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(python, [str(python), "-m", module, *sys.argv[1:]])  # the interpreter of .venv


def made(venv: Path = VENV, locks: tuple[Path, ...] = LOCKS) -> Path:
    """Install as `make` does; on failure, end the command with one sentence below the failed tool's output."""
    try:
        return make(venv, locks)
    except OSError as error:
        why = str(error)
    except subprocess.CalledProcessError as error:
        why = f"{Path(error.cmd[0]).name} failed; see its message above (Python 3.13 and a package index are needed)"
    sys.exit(f"triptych: could not set up the environment: {why}")


def _say(step: str) -> None:
    print(f"setting up: {step} …", file=sys.stderr, flush=True)  # noqa: T201  # a command reports its progress


if __name__ == "__main__":
    made()
