"""prices.toml: what a job may ask for, what is assumed of its clients, and what all of it costs."""

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
    """What a job may ask for, and why it cannot ask for less."""

    count: Annotated[int, Field(gt=0)]
    why: str
    by: Literal["functions", "others"] = "functions"
    where: str = ""  # the jobs that it is asked for by; empty is all of them


class Assumptions(_Table):
    polls: int
    downloads: int
    picture_bytes: int
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
    """The file, read once.

    Raises:
        pydantic.ValidationError: it is not as it should be.
    """
    return _File.model_validate(tomllib.loads(FILE.read_text()))


def budget(*where: str, by: str | None = None) -> dict[str, int]:
    """How often a job may ask for what.

    Args:
        where: what is true of the job besides what is true of all.
        by: those alone that are made by the functions, or by others.
    """
    return {
        name: request.count
        for name, request in file().requests.items()
        if request.where in {"", *where} and by in {None, request.by}
    }


def overruns(made: Mapping[str, float], allowed: Mapping[str, int]) -> list[str]:
    """A sentence for each request that was made more often than allowed, or less: then the floor is lower."""
    told = []
    for name in sorted(made.keys() | allowed.keys()):
        found, most = made.get(name, 0), allowed.get(name, 0)
        if found != most:
            reason = file().requests[name].why if name in file().requests else "nothing asks for it"
            told.append(f"{name}: {found:g}, where prices.toml has {most}: {reason}")
    return told


def usd(**amounts: float) -> float:
    """What so much of each costs, by the names in prices.toml.

    Raises:
        KeyError: one has no price.
    """
    prices = file().prices.usd
    return sum(amount * prices[name].usd / prices[name].per for name, amount in amounts.items())
