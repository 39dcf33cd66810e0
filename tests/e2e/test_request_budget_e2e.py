"""What one job costs in what its functions cannot see themselves make, when nothing fails: as prices.toml says it."""

from __future__ import annotations

from tests.benchmarks import _prices, cost


def test_a_job_is_not_invoked_called_or_fetched_for_more_often_than_it_must_be() -> None:
    used, _ = cost.run(counted=1, before=0)
    allowed = _prices.budget(by="others")
    made = {name: count for name, count in used.requests.items() if name in allowed}
    assert not _prices.overruns(made, allowed)
    assert used.requests.keys() <= _prices.file().requests.keys()
