"""The requests of one job that only the local cloud counts: at most the number in prices.toml."""

from __future__ import annotations

from tests.benchmarks import _prices, cost


def test_job_needs_no_extra_invocation_call_or_download() -> None:
    used, _ = cost.run(counted=1, before=0)
    allowed = _prices.budget(by="others")
    made = {name: count for name, count in used.requests.items() if name in allowed}
    assert not _prices.overruns(made, allowed)
    assert used.requests.keys() <= _prices.file().requests.keys()
