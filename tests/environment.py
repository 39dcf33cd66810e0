"""The development environment, made and kept current by the commands that need it.

Standard library only, and any Python from 3.9 on: it runs before anything is installed.

* `.venv` holds what the two locks name: `layers/dependencies/requirements.txt` (run time) and
  `tests/requirements.txt` (development).
* `.cache/uv` holds a pinned uv, when the machine has none that works.

`python3 -m tests.environment` does this and nothing else; `python3 -m tests.localcloud` and `python3 -m tests`
do it first.
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
UV_VERSION = "0.13.9"
# As pip does: an office's proxy signs with a certificate of its own.
os.environ.setdefault("UV_SYSTEM_CERTS", "1")


def fingerprint(*files: Path) -> str:
    """A short hash of the files' bytes: what was made from them is current while it stands."""
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def uv() -> str:
    """A uv that runs: the machine's own, or a pinned one under `.cache/uv`.

    A pyenv shim can be on PATH and still refuse to run here, so being found is not enough.
    """
    private = CACHE / "uv" / ("Scripts" if os.name == "nt" else "bin") / "uv"
    for candidate in (str(private), "uv"):
        try:
            subprocess.run([candidate, "--version"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    _say("installing uv")
    subprocess.run([sys.executable, "-m", "venv", str(CACHE / "uv")], check=True)
    pip = [str(private.with_name("python")), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"uv=={UV_VERSION}"], check=True)
    return str(private)


def make(venv: Path = VENV, locks: tuple[Path, ...] = LOCKS) -> Path:
    """Make `venv` hold exactly what `locks` name, if it does not yet, and return its Python.

    Raises:
        subprocess.CalledProcessError: uv said no; its own words are on stderr.
    """
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = venv / "locks"
    wanted = fingerprint(*locks)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    tool = uv()
    _say(f"installing the locked packages into {venv.relative_to(ROOT)}")
    environment = {**os.environ, "VIRTUAL_ENV": str(venv)}
    subprocess.run([tool, "venv", "--quiet", "--allow-existing", str(venv)], cwd=ROOT, check=True)
    sync = [tool, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), *map(str, locks)]
    subprocess.run(sync, cwd=ROOT, env=environment, check=True)
    stamp.write_text(wanted)
    return python


def ensure(module: str) -> None:
    """Go on inside `.venv`: where this is another Python, or the locks have moved on, start `module` again in it."""
    python = made()
    if Path(sys.prefix).resolve() != VENV.resolve():
        os.execv(python, [str(python), "-m", module, *sys.argv[1:]])  # our own interpreter


def made(venv: Path = VENV, locks: tuple[Path, ...] = LOCKS) -> Path:
    """As `make`; where that fails, one sentence ends the command, below what the tool that failed has said."""
    try:
        return make(venv, locks)
    except OSError as error:
        why = str(error)
    except subprocess.CalledProcessError as error:
        why = f"{Path(error.cmd[0]).name} failed, and says above why (needed: Python 3.13, a package index)"
    sys.exit(f"triptych: the environment could not be made: {why}")


def _say(what: str) -> None:
    print(f"setting up: {what} …", file=sys.stderr, flush=True)  # noqa: T201  # a command's own progress


if __name__ == "__main__":
    made()
