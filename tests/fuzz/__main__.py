"""`python3 -m tests.fuzz TARGET --seconds 900`: fuzz one of photos, api, webhook and messages.

atheris guides the inputs by the coverage of the layer and the functions. Inputs that reach new code are collected in
`.cache/fuzz-corpus/TARGET`, beside those in `tests/fuzz/corpus/TARGET`. An input that breaks a promise ends the run, and is
written to `.cache/fuzz-findings`. `--keep 20` then copies the smallest inputs that reach the most code to `tests/fuzz/corpus`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from pathlib import Path

from tests.environment import CACHE, LOCKS, ROOT, made

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
VENV_OF_FUZZER = CACHE / "fuzz"
COLLECTED = CACHE / "fuzz-corpus"
FINDINGS = CACHE / "fuzz-findings"
NAMES = ("photos", "api", "webhook", "messages")
LONGEST = {"photos": 16_384, "api": 1024, "webhook": 1024, "messages": 1024}  # bytes
INSTRUMENTED = (
    *("triptych", "api", "description", "errors", "guards", "replies", "views"),
    *("generate", "webhook", "watchdog"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument(
        "--keep", type=int, metavar="INPUTS", help="keep so many inputs in the repository; do not fuzz"
    )
    given = parser.parse_args()
    python = made(VENV_OF_FUZZER, (*LOCKS, HERE / "requirements.txt"))
    if Path(sys.prefix).resolve() != VENV_OF_FUZZER.resolve():
        os.execv(
            python, [str(python), "-m", "tests.fuzz", *sys.argv[1:]]
        )  # the interpreter of that environment
    collected, kept = COLLECTED / given.target, CORPUS / given.target
    for folder in (collected, kept, FINDINGS):
        folder.mkdir(parents=True, exist_ok=True)
    if given.keep is not None:
        _keep(collected, kept, given.keep)
    else:
        _fuzz(given.target, given.seconds, collected, kept)


def _fuzz(name: str, seconds: int, collected: Path, kept: Path) -> None:
    os.environ |= {"POWERTOOLS_LOG_LEVEL": "CRITICAL", "POWERTOOLS_METRICS_DISABLED": "true"}
    with (ROOT / "pyproject.toml").open("rb") as file:
        sys.path[:0] = [str(ROOT / path) for path in tomllib.load(file)["tool"]["pytest"]["pythonpath"]]
    import atheris  # noqa: PLC0415  # only this environment has it

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from tests.fuzz import targets  # noqa: PLC0415  # what it imports is instrumented
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST[name]}",
        "-timeout=120",
        "-rss_limit_mb=2048",
    ]
    options += [
        f"-artifact_prefix={FINDINGS}/{name}-",
        "-print_final_stats=1",
        "-verbosity=1",
        "-reload=0",
        "-len_control=0",
    ]
    for number, seed in enumerate(targets.seeds(name)):
        (collected / f"seed-{number:03}").write_bytes(seed)
    with targets.target(name) as take:
        atheris.Setup([sys.argv[0], str(collected), str(kept), *options], take)
        atheris.Fuzz()


def _keep(collected: Path, kept: Path, most: int) -> None:
    """Copy some of the inputs that the fuzzer has made up and collected because they reached something new."""
    found = [file for file in collected.iterdir() if not file.name.startswith("seed-")]
    found.sort(key=lambda file: (file.stat().st_size, file.name))
    step = max(1, len(found) // most)
    for file in found[::step][:most]:
        (kept / file.name[:16]).write_bytes(file.read_bytes())


if __name__ == "__main__":
    main()
