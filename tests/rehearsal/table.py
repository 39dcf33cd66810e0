"""Writes TABLE.md: what MiniStack does as AWS and otherwise, and what of the local cloud it could replace.

`.venv/bin/python -m tests.rehearsal.table` writes it again. Nothing in it is written by hand: each line is a case of a
test in this folder, and that test fails when MiniStack changes its answer.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.environment import ROOT
from tests.iam import recorded as iam
from tests.iam.controls import controls
from tests.localcloud.tests import differences as local
from tests.recorded import http_api
from tests.recorded.cases import files, load
from tests.rehearsal import differences, end_to_end, evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FILE = Path(__file__).with_name("TABLE.md")
LOCAL = ROOT / "tests/localcloud"


@dataclass(frozen=True)
class Part:
    """Modules of the local cloud that do one thing, and the cases on which MiniStack fails its users."""

    what: str
    modules: tuple[str, ...]
    why: str
    cases: tuple[str, ...] = ()  # names of cases in which MiniStack differs


_TESTS = "../localcloud/tests"
# By the behaviour in which MiniStack differs: the test that the local cloud does as AWS, or None if it does not.
OURS: dict[str, tuple[str, str] | None] = {
    "move task from a dead-letter queue": None,
    "quiet group of a fair queue": ("test_beside", "test_local_cloud_behaves_as_aws"),
    "OnFailure destination of a stream": (
        f"{_TESTS}/test_streams",
        "test_crashing_record_is_isolated_and_reported",
    ),
    "partial batch response of a stream": (
        f"{_TESTS}/test_streams",
        "test_failed_record_is_redelivered_with_later_ones",
    ),
    "API destination: key, and a retry after 503": (
        f"{_TESTS}/test_event_bus",
        "test_event_is_logged_and_redelivered_until_accepted",
    ),
    "answer over 6 MB": (f"{_TESTS}/test_functions", "test_oversized_answer_or_event_fails_one_invocation"),
    "memory over the function's size": (
        f"{_TESTS}/test_limits",
        "test_function_that_needs_too_much_memory_is_killed",
    ),
    "write outside /tmp": (f"{_TESTS}/test_limits", "test_file_system_beside_tmp_is_read_only"),
    "/tmp over 512 MB": (f"{_TESTS}/test_limits", "test_full_tmp_is_an_error_of_the_write"),
    "environment over 4 KB": (f"{_TESTS}/test_functions", "test_environment_of_more_than_4_kb_is_refused"),
    "payload over 6 MB": (f"{_TESTS}/test_functions", "test_oversized_answer_or_event_fails_one_invocation"),
    "unknown property in a template": (
        f"{_TESTS}/test_template",
        "test_unsupported_resource_or_property_is_named",
    ),
}

PARTS = (
    Part(
        "template: parameters, rules, SAM's translation, intrinsic functions",
        ("template", "overrides", "stack"),
        "It stops at a wrong parameter, and its result also goes to cfn-lint and to the tests of the roles.",
        ("unknown property in a template",),
    ),
    Part(
        "resources: create them, refuse what is not understood",
        ("resources", "provision"),
        "Half of it is the list of what is understood. The other half calls the services' public operations: moto's own "
        "CloudFormation drops types and properties silently "
        "([test_moto_cloudformation.py](../localcloud/tests/test_moto_cloudformation.py)).",
        ("unknown property in a template", "environment over 4 KB"),
    ),
    Part(
        "S3 and SQS as AWS answers, on moto",
        ("aws", "moto_server", "moto_patches", "s3_signature", "s3_cors", "background"),
        "MiniStack checks signatures as well, but answers S3's recorded requests otherwise more often. It has no fair "
        "queues, which the waiting line needs. Neither cloud has move tasks.",
        ("quiet group of a fair queue",),
    ),
    Part(
        "roles: policies, requests, sessions, a record of what was used",
        ("policies", "calls", "roles", "decisions"),
        "MiniStack's IAM gives the same verdicts, but it does not say which permission allowed a request. "
        "test_roles.py finds unused permissions with that.",
    ),
    Part(
        "functions: processes, limits, packages",
        ("functions", "limits", "packages"),
        "MiniStack's processes have no limits of memory, /tmp, files and payload.",
        ("memory over the function's size", "write outside /tmp", "/tmp over 512 MB", "payload over 6 MB"),
    ),
    Part(
        "queues that invoke functions",
        ("event_sources",),
        "MiniStack differs in a few recorded cases (queue_mappings.json), and invokes only functions of its own.",
    ),
    Part(
        "a stream that invokes a function",
        ("streams",),
        "The end of a job would be lost.",
        ("partial batch response of a stream", "OnFailure destination of a stream"),
    ),
    Part(
        "the bus and callbacks",
        ("event_bus", "patterns"),
        "A callback would be lost.",
        ("API destination: key, and a retry after 503",),
    ),
    Part(
        "the HTTP API",
        ("http_api", "http_server", "throttle"),
        "A page could not read a 401, a body over 10 MB would be accepted, and an exception would show its text.",
        (
            "CORS headers of refusals",
            "body over 10 MB",
            "exception in the function",
            "limit of a route",
            "bad tokens that are accepted",
        ),
    ),
    Part(
        "the stand-in for Replicate",
        ("replicate", "replicate_faults", "replicate_predictions", "drawing"),
        "It is no part of AWS.",
    ),
    Part(
        "command, progress, sample, driver, host names",
        (
            *("__init__", "__main__", "command", "progress", "sample", "driving"),
            *("cloud", "aws_names", "tls_server", "internet"),
        ),
        "It is no part of an emulator.",
    ),
)


def lines_of(part: Part) -> int:
    return sum(len((LOCAL / f"{name}.py").read_text().splitlines()) for name in part.modules)


def rendered() -> str:
    """Return the content of TABLE.md."""
    return "\n".join(
        (
            "# What MiniStack does as AWS, and otherwise",
            "",
            (
                "`.venv/bin/python -m tests.rehearsal.table` writes this file from the cases of the tests in this folder. "
                "[test_table.py](test_table.py) compares. [The decision](README.md#the-decision) follows from it."
            ),
            "",
            *_behaviours(),
            *_http_api(),
            *_recorded(),
            *_iam(),
            *_end_to_end(),
            *_parts(),
        )
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '\\|') for cell in row)} |"
    yield ""


def _text(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _behaviours() -> Iterator[str]:
    same = [case for case in evidence.CHECKS if case.ministack is None]
    other = [case for case in evidence.CHECKS if case.ministack is not None]
    yield f"## Behaviours: {len(same)} as AWS documents them, {len(other)} otherwise"
    yield ""
    yield "The reproduction of each is a function of [evidence.py](evidence.py), which ends as its case names it."
    yield ""
    yield from _table(("as AWS", "answer"), ((case.name, _text(case.aws)) for case in same))
    yield from _table(
        ("otherwise", "AWS", "MiniStack", "local cloud"),
        ((case.name, _text(case.aws), _text(case.ministack), _ours(case.name)) for case in other),
    )


def _ours(case: str) -> str:
    found = OURS[case]
    return f"as AWS: [{found[1]}]({found[0]}.py)" if found else "not as AWS, too"


def _http_api() -> Iterator[str]:
    listed = differences.HTTP_API
    yield f"## The HTTP API: {len(http_api.CASES) - len(listed)} as documented, {len(listed)} otherwise"
    yield ""
    yield (
        "The cases are in [http_api.py](../recorded/http_api.py). The local cloud agrees with all of them. "
        f"Also as documented on MiniStack: {', '.join(one.name for one in http_api.CASES if one.name not in listed)}."
    )
    yield ""
    documented = {case.name: case.answer for case in http_api.CASES}
    yield from _table(
        ("otherwise", "AWS", "MiniStack", "reason"),
        ((name, _text(documented[name]), _text(seen), reason) for name, (reason, seen) in listed.items()),
    )


def _recorded() -> Iterator[str]:
    yield "## AWS's recorded answers"
    yield ""
    yield "The reasons are in [differences.py](differences.py) and in [the local cloud's](../localcloud/tests/differences.py)."
    yield ""
    ours, theirs = Counter(map(_file, local.ANSWERS)), Counter(map(_file, differences.ANSWERS))
    ours["event_patterns"] += sum(local.REFUSED_PATTERNS.values())
    theirs["event_patterns"] += len(differences.PATTERN_VERDICTS)
    skipped = Counter(map(_file, differences.NOT_PLAYED))
    skipped_here = Counter(map(_file, local.NOT_PLAYED)) - Counter({"event_patterns": ours["event_patterns"]})
    yield from _table(
        ("file", "cases", "otherwise on MiniStack", "otherwise on the local cloud"),
        (
            (
                f"{name}.json",
                len(load(name)),
                _count(theirs[name], skipped[name]),
                _count(ours[name], skipped_here[name]),
            )
            for name in sorted(files())
        ),
    )


def _file(case: str) -> str:
    return case.partition(":")[0]


def _count(different: int, skipped: int) -> str:
    return f"{different}, {skipped} not compared" if skipped else str(different)


def _iam() -> Iterator[str]:
    yield "## IAM"
    yield ""
    yield (
        f"MiniStack's IAM confirms each of {len(iam.load())} recorded decisions of the end-to-end tests, and each of "
        f"{len(controls())} on requests that nobody made ([test_iam.py](test_iam.py)). Every stack here runs with "
        "`AUTH=true`, so it refuses what a role does not permit."
    )
    yield ""


def _end_to_end() -> Iterator[str]:
    yield "## The end-to-end tests"
    yield ""
    rows = []
    for name, failing in end_to_end.RUN.items():
        reasons = [f"`{test}`: {reason}" for test, reason in failing.items()]
        rows.append((name, "CI" if name in end_to_end.QUICK else "by hand", "<br>".join(reasons) or "none"))
    yield from _table(("file", "compared in", "tests that fail on MiniStack"), rows)
    yield from _table(("file that is not compared", "reason"), end_to_end.NOT_RUN.items())


def _parts() -> Iterator[str]:
    yield "## What stays of the local cloud"
    yield ""
    yield f"Every part stays: {sum(map(lines_of, PARTS))} lines in `tests/localcloud/*.py`."
    yield ""
    yield from _table(
        ("part", "lines", "why it stays", "reproduction: cases above"),
        ((part.what, lines_of(part), part.why, "; ".join(part.cases)) for part in PARTS),
    )


if __name__ == "__main__":
    FILE.write_text(rendered())
