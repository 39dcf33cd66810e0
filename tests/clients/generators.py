"""The two generators, and the description that they read.

The TypeScript client needs no package at run time: its generator puts the few lines around `fetch` beside the types. The
Python client needs httpx and attrs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.environment import ROOT, VENV
from tests.support import npm

HERE = Path(__file__).parent
PYTHON = Path("python/triptych_client")
TYPESCRIPT = Path("typescript/triptych")
NPM_FILES = tuple(HERE / name for name in ("package.json", "package-lock.json", "generate.mjs"))
_DESCRIBE = "import json, api, description; print(json.dumps(description.describe(api.app)))"


def generate_all() -> None:
    """Replace both clients in the repository."""
    with tempfile.TemporaryDirectory() as made:
        description = describe(Path(made))
        for client, generate in ((PYTHON, generate_python), (TYPESCRIPT, generate_typescript)):
            generate(description, Path(made) / client)
            shutil.rmtree(HERE / client, ignore_errors=True)
            shutil.copytree(Path(made) / client, HERE / client)


def describe(folder: Path) -> Path:
    """Write the API's description, as today's code makes it, into a file in `folder`; return its path."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        roots = tomllib.load(file)["tool"]["pytest"]["pythonpath"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / root) for root in roots)}
    made = subprocess.run(
        [sys.executable, "-c", _DESCRIBE], env=environment, capture_output=True, text=True, check=True
    )
    path = folder / "openapi.json"
    path.write_text(json.dumps(json.loads(made.stdout)))
    return path


def generate_python(description: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [str(VENV / "bin/openapi-python-client"), "generate", "--path", str(description)]
    command += ["--output-path", str(folder), "--meta", "none", "--config", str(HERE / "python.yml")]
    _run([*command, "--fail-on-warning"])


def generate_typescript(description: Path, folder: Path) -> None:
    """Generate the TypeScript client.

    Raises:
        npm.UnreachableError: npm reached no registry.
        RuntimeError: The generator failed. The message holds its output.
    """
    packages = npm.install("clients", *NPM_FILES)
    _run([str(npm.NODE), str(packages / "generate.mjs"), str(description), str(folder)])


def compile_typescript(project: Path, folder: Path) -> None:
    """Check the types of a folder with a tsconfig.json, and write its JavaScript into another.

    Raises:
        RuntimeError: The types do not fit. The message holds tsc's output.
    """
    packages = npm.install("clients", *NPM_FILES)
    tsc = packages / "node_modules/typescript/bin/tsc"
    _run([str(npm.NODE), str(tsc), "--project", str(project), "--outDir", str(folder)])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[:2]} failed.\n{done.stdout}{done.stderr}")
