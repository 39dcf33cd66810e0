"""The command: draw mutants, run the tests that can notice them, and print which test noticed each."""

from __future__ import annotations

import argparse
import math
import re
import tempfile
import tomllib
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from random import Random

from tests.environment import CACHE, ROOT
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.recording import Recorded, recorded
from tests.mutation.server import CANNOT_RUN, SLOWER
from tests.mutation.workshop import LAYER, Workshop, taken, workshop

MODULES = (
    "job.py",
    "spending.py",
    "successors.py",
    "deadlines.py",
    "flows/*.py",
    "replicate/*.py",
    "aws/table.py",
    "aws/counts.py",
    "runtime/hosts.py",
)
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
DEEP = ("tests/integration/test_crash.py", "tests/simulation/test_simulation.py")  # for survivors
DEEP_SECONDS = 1800.0
START_SECONDS = 90.0
NEIGHBOURS = 12  # tests that noticed earlier changes of the module run first
START_OF_TEST = 0.3  # seconds that count for each test beside its own


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant."""

    mutant: Mutant
    killed_by: str  # the test that failed, "" if none did
    equivalent: str = ""  # why no test can notice it

    @property
    def verdict(self) -> str:
        if self.equivalent:
            return "equivalent"
        return f"killed by {self.killed_by}" if self.killed_by else "survived"


def modules(patterns: Sequence[str]) -> list[str]:
    """Return the modules of the layer that the patterns name."""
    found = {file for pattern in patterns for file in (ROOT / LAYER).glob(pattern)}
    names = sorted(file.relative_to(ROOT / LAYER).as_posix() for file in found)
    return [name for name in names if not name.endswith("__init__.py")]


def drawn(names: Sequence[str], seed: int, sample: int) -> list[Mutant]:
    """Return a sample of the modules' mutants, all of them for 0, in the order of their places."""
    every = [mutant for name in names for mutant in mutants_of(name, source_of(name))]
    chosen = Random(seed).sample(range(len(every)), min(sample or len(every), len(every)))
    return [every[number] for number in sorted(chosen)]


def source_of(module: str) -> bytes:
    return (ROOT / LAYER / module).read_bytes()


def equivalents() -> dict[str, str]:
    """Return the reason of each mutant that is known as equivalent."""
    return {one["mutant"]: one["why"] for one in tomllib.loads(EQUIVALENT.read_text()).get("known", [])}


class Likely:
    """Puts first the tests that a change will most likely fail: their names share rare words with the changed lines."""

    def __init__(self, tests: Sequence[Recorded]) -> None:
        self._tests = tests
        self._words = {test.name: words_of(test.name) for test in tests}
        number = Counter(word for words in self._words.values() for word in words)
        self._weight = {word: math.log(len(tests) / named) for word, named in number.items()}

    def tests_for(self, mutant: Mutant, most: float = math.inf) -> list[Recorded]:
        """Return the tests that can notice the mutant, as many as took `most` seconds when they were recorded."""
        first, last = mutant.lines
        lines = source_of(mutant.module).decode().splitlines()[first - 1 : last]
        words = words_of(" ".join([mutant.module, mutant.scope, *lines]))

        def order(test: Recorded) -> tuple[float, float]:
            shared = sum(self._weight[word] for word in words & self._words[test.name])
            return -shared / math.sqrt(START_OF_TEST + test.seconds), test.seconds

        ranked = sorted((test for test in self._tests if test.can_notice(mutant)), key=order)
        ends = accumulate(test.seconds for test in ranked)
        return [test for test, end in zip(ranked, ends, strict=True) if end - test.seconds < most]


def words_of(text: str) -> frozenset[str]:
    """Return the beginnings of the words in names, so that `canceled` and `cancel_all` share one."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text)
    return frozenset(word.lower()[:5] for word in words if len(word) > 3)


def judge(
    mutant: Mutant,
    likely: Likely,
    shop: Workshop,
    *,
    deep: bool,
    most: float = math.inf,
    first: Sequence[str] = (),
) -> Result:
    """Run the tests that can notice the mutant until one fails, those of `first` before the others."""
    order = {name: number for number, name in enumerate(first)}
    chosen = sorted(likely.tests_for(mutant, most), key=lambda test: order.get(test.name, len(first)))
    seconds = START_SECONDS + SLOWER * sum(test.seconds for test in chosen)
    source = mutant.applied_to(source_of(mutant.module))
    failed: str | None = None if chosen else ""
    if chosen and mutant.is_run:
        each = {test.name: test.seconds for test in chosen}
        failed = shop.test_in_place(mutant.module, source, tests=each, seconds=seconds)
        if failed == CANNOT_RUN:  # that says nothing of the change
            failed = None
    if failed or (failed is not None and not deep):
        return Result(mutant, failed)
    with shop.changed(mutant.module, source):
        if failed is None:
            files = list(dict.fromkeys(test.file for test in chosen))
            failed = shop.test(files, tests=[test.name for test in chosen], seconds=seconds)
        for file in DEEP if deep else ():
            failed = failed or shop.test([file], seconds=DEEP_SECONDS)
    return Result(mutant, failed)


@contextmanager
def workshops(number: int) -> Iterator[SimpleQueue[Workshop]]:
    """Make copies of the tree, and remove them at the end."""
    shops: SimpleQueue[Workshop] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(number):
            folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            shops.put(stack.enter_context(workshop(ROOT, Path(folder))))
        yield shops


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.mutation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--sample", type=int, default=0, help="how many mutants; 0 is all (hours)")
    parser.add_argument("--processes", type=int, default=1, help="how many run at the same time")
    parser.add_argument("--quick", action="store_true", help="no crash plans and no simulation for survivors")
    parser.add_argument("--most", type=float, default=math.inf, help="seconds of quick tests for one mutant")
    parser.add_argument("--only", default="", help="only mutants whose name contains this text")
    parser.add_argument("module", nargs="*", default=MODULES, help="such as flows/generate.py")
    options = parser.parse_args()
    names = modules(options.module)
    if not names:
        parser.error("no such module; name it as below the layer's package, such as aws/table.py")
    known = equivalents()
    mutants = [one for one in drawn(names, options.seed, options.sample) if options.only in one.name]
    with workshops(options.processes) as shops:
        tests = recorded(ROOT, CACHE / "mutation", shops)
        likely = Likely(tests)
        files = sorted({test.file for test in tests})
        for _ in range(options.processes):
            shop = shops.get()
            shop.collect(files)
            shops.put(shop)
        noticed: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=NEIGHBOURS))

        def work(mutant: Mutant) -> Result:
            if mutant.name in known:
                return Result(mutant, "", known[mutant.name])
            with taken(shops) as shop:
                first = [*noticed[mutant.module]]
                result = judge(mutant, likely, shop, deep=not options.quick, most=options.most, first=first)
            if result.killed_by and result.killed_by not in first:
                noticed[mutant.module].append(result.killed_by)
            return result

        if not options.quick:
            control(shops, DEEP)
        results: list[Result] = []
        with ThreadPoolExecutor(options.processes) as pool:
            for number, result in enumerate(pool.map(work, mutants), 1):
                results.append(result)
                _say(f"{number}/{len(mutants)} {result.verdict}  {described(result.mutant)}")
        control(shops, sorted({one.killed_by for one in results if "::" in one.killed_by}))
    survivors = [f"survived  {described(one.mutant)}" for one in results if one.verdict == "survived"]
    _say("\n".join(["", *survivors, "", *summary(results)]))


def control(shops: SimpleQueue[Workshop], tests: Sequence[str]) -> None:
    """Run tests that decide about changes without any change.

    Raises:
        SystemExit: One of them fails, so it proves nothing.
    """
    files = sorted({name.partition("::")[0] for name in tests})
    named = [name for name in tests if "::" in name]
    with taken(shops) as shop:
        failed = shop.test(files, tests=named, seconds=DEEP_SECONDS) if files else ""
    if failed:
        raise SystemExit(f"{failed} also fails without a change")


def described(mutant: Mutant) -> str:
    """Return the mutant's name, as `equivalent.toml` must name it, and its line."""
    return f"{mutant.name}  (line {mutant.lines[0]})"


def summary(results: Sequence[Result]) -> list[str]:
    """Return the table: killed of those that are not equivalent, by module."""
    lines = []
    names = sorted({result.mutant.module for result in results})
    for name in [*names, ""]:
        some = [one for one in results if name in {one.mutant.module, ""} and not one.equivalent]
        killed = sum(bool(one.killed_by) for one in some)
        equivalent = sum(bool(one.equivalent) for one in results if name in {one.mutant.module, ""})
        share = f"{100 * killed / len(some):.0f} %" if some else "-"
        lines.append(
            f"{name or 'all':26} {killed:5} of {len(some):5} killed  {share:>6}  {equivalent} equivalent"
        )
    return lines


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # a command prints
