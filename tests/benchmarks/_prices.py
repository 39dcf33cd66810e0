"""The contents of prices.toml: the requests that a job may make, assumptions about its clients, and list prices."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tests.environment import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = ROOT / "tests/benchmarks/prices.toml"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Request(_Table):
    """How often a job may make a request, and why it cannot make fewer."""

    count: Annotated[int, Field(gt=0)]
    why: str
    by: Literal["functions", "others"] = "functions"
    where: str = ""  # which jobs make it; empty is all jobs


class Assumptions(_Table):
    polls: int
    downloads: int
    output_bytes: int
    idle_receives: int


class Price(_Table):
    usd: Annotated[float, Field(gt=0)]
    per: Annotated[int, Field(gt=0)]
    source: Annotated[str, Field(pattern="https://")]


class _Prices(_Table):
    date: Annotated[str, Field(pattern=r"\d{4}-\d{2}")]
    region: str
    usd: dict[str, Price]


class _File(_Table):
    requests: dict[str, Request]
    assumptions: Assumptions
    prices: _Prices


@cache
def file() -> _File:
    """Return the file's contents.

    Raises:
        pydantic.ValidationError: The file is invalid.
    """
    return _File.model_validate(tomllib.loads(FILE.read_text()))


def budget(*where: str, by: str | None = None) -> dict[str, int]:
    """Return how often a job may make each request.

    Args:
        where: The special conditions that the job meets.
        by: Only requests by the functions, or by others; None is all.
    """
    return {
        name: request.count
        for name, request in file().requests.items()
        if request.where in {"", *where} and by in {None, request.by}
    }


def overruns(made: Mapping[str, float], allowed: Mapping[str, int]) -> list[str]:
    """Return a sentence for each request that was not made as often as allowed. Fewer requests mean a lower floor."""
    sentences = []
    for name in sorted(made.keys() | allowed.keys()):
        found, most = made.get(name, 0), allowed.get(name, 0)
        if found != most:
            reason = file().requests[name].why if name in file().requests else "no job needs it"
            sentences.append(f"{name}: {found:g}, but {most} in prices.toml: {reason}")
    return sentences


def usd(**amounts: float) -> float:
    """Return the price of these amounts in dollars. The names are those in prices.toml.

    Raises:
        KeyError: A name has no price.
    """
    prices = file().prices.usd
    return sum(amount * prices[name].usd / prices[name].per for name, amount in amounts.items())
