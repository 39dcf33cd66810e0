"""The imports of each function until its first answer: milliseconds by package.

Each function is imported REPETITIONS times by a new interpreter with `-X importtime`. The figure of a package is the sum
of the least times of its modules, without what they import in turn. So another load of the machine hardly matters. The
time of our own code holds the models that pydantic builds for it, and its regular expressions.

Two more figures are what is saved: garbage collection, which the first import of each function turns off, and reading
the certificates, which a process does once and each HTTP client would do again.

`.venv/bin/python -m tests.benchmarks.imports` prints the table of README.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import timeit
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

import httpx

from tests.benchmarks._report import Figure
from tests.environment import ROOT
from tests.localcloud import packages
from tests.support.function_environment import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

REPETITIONS = 9
LINE = re.compile(r"import time: +(\d+) \| +\d+ \| *(\S+)")
PHOTO, PREVIEWS = ("triptych.photo.inspection", "triptych.photo.previews")
SECRETS = "aws_lambda_powertools.utilities.parameters.secrets"
# What the first answer imports beside the function's own module.
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "page": (),
    "announce": (),
    "watchdog": (),
    "api": (),
    "callback": (SECRETS,),
    "webhook": (PREVIEWS,),
    "generate": (PHOTO, PREVIEWS),
}
STANDARD, OWN = "standard library", "own code"
# A package, and the top-level modules of what only it needs.
PACKAGES = {
    "boto3": ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3", "certifi"),
    "pydantic": (
        "pydantic",
        "pydantic_core",
        "annotated_types",
        "typing_inspection",
        "typing_extensions",
    ),
    "powertools": ("aws_lambda_powertools",),
    "pynamodb": ("pynamodb",),
    "replicate": ("replicate", "packaging"),
    "httpx": ("httpx", "httpcore", "h11", "anyio", "idna"),
    "Pillow": ("PIL", "pillow_heif"),
    OWN: ("triptych",),
}
# Keeps the garbage collection on, and adds up the seconds that it takes.
COLLECTING = """
import gc, time
gc.disable, spent = (lambda: None), 0.0
def note(phase, _):
    global spent
    spent += time.perf_counter() if phase == "stop" else -time.perf_counter()
gc.callbacks.append(note)
"""
COLUMNS = (STANDARD, *PACKAGES)
_PACKAGE_OF = {module: package for package, modules in PACKAGES.items() for module in modules}
PAGE = {"BUCKET_URL": "https://b", "COGNITO_URL": "https://c", "COGNITO_CLIENT_ID": ""}


def measure() -> Iterator[Figure]:
    once = min(
        timeit.repeat(partial(httpx.create_ssl_context, trust_env=False), number=1, repeat=REPETITIONS)
    )
    yield Figure("reading the certificates once", once * 1000, "ms")
    for function in FUNCTIONS:
        times = by_package(function, REPETITIONS)
        whole = sum(times.values())
        yield Figure(f"{function}: all imports", whole, "ms")
        garbage = min(float(_run(function, COLLECTING, "spent * 1000").stdout) for _ in range(REPETITIONS))
        yield Figure(f"{function}: saved garbage collection", garbage, "ms", "all imports", whole)
        for package in COLUMNS:
            if times[package]:
                yield Figure(f"{function}: {package}", times[package], "ms")


def by_package(function: str, repetitions: int) -> dict[str, float]:
    """Return the milliseconds that a function's imports take, by package."""
    runs = [_times(function) for _ in range(repetitions)]
    least = {module: min(run.get(module, time) for run in runs) for module, time in runs[0].items()}
    own = {file.stem for file in (ROOT / "functions" / function).glob("*.py")}
    times: defaultdict[str, float] = defaultdict(float)
    for module, microseconds in least.items():
        times[package_of(module, own)] += microseconds / 1000
    return times


def read(output: str) -> dict[str, int]:
    """Return the microseconds that each module took, from the output of `-X importtime`."""
    return {found[2]: int(found[1]) for line in output.splitlines() if (found := LINE.match(line))}


def package_of(module: str, own: set[str]) -> str:
    """Return the package that a module belongs to.

    Raises:
        KeyError: PACKAGES does not name it.
    """
    top = module.partition(".")[0]
    if top in own:
        return OWN
    if top in sys.stdlib_module_names or top.startswith("_"):
        return STANDARD
    return _PACKAGE_OF[top]


def _times(function: str) -> dict[str, int]:
    """Import a function in a new interpreter; return the microseconds that each module took."""
    done = _run(function, "import sys", "*sys.modules")
    imported = set(done.stdout.split())  # without optional packages that were looked for and are not there
    return {module: time for module, time in read(done.stderr).items() if module in imported}


def _run(function: str, before: str, result: str) -> subprocess.CompletedProcess[str]:
    """Import a function in a new interpreter, after the code `before`; print `result` there."""
    layers = [ROOT / "layers" / name for name in ("triptych", "dependencies", "imaging")]
    folder = ROOT / "functions" / function
    for compiled in (folder, layers[0]):
        packages.compile_sources(compiled)
    path = [folder, *(path for layer in layers for path in packages.import_path(layer))]
    environment = {**ENVIRONMENT, **PAGE, "PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, path))}
    base: str = getattr(sys, "_base_executable", sys.executable)
    modules = ", ".join((function, *FUNCTIONS[function]))
    code = f"{before}\nimport {modules}\nprint({result})"
    command = [base, "-S", "-P", "-X", "importtime", "-c", code]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True)


def table(repetitions: int = REPETITIONS) -> str:
    """Return the table of README.md."""
    lines = [f"| ms | all | {' | '.join(COLUMNS)} |", f"|---|{'--:|' * (len(COLUMNS) + 1)}"]
    for function in FUNCTIONS:
        times = by_package(function, repetitions)
        each = " | ".join(f"{times[package]:.0f}" if times[package] else "" for package in COLUMNS)
        lines.append(f"| `{function}` | {sum(times.values()):.0f} | {each} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"{table()}\n")
