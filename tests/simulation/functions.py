"""The functions' code, and their settings in the template."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections import defaultdict
from functools import cache
from types import ModuleType
from typing import Any

import yaml

from tests.simulation import ROOT

FUNCTIONS = ("api", "generate", "webhook", "watchdog", "announce", "callback")
_numbers = itertools.count()


@cache
def environments() -> dict[str, list[ModuleType]]:
    """Return the idle copies of each function's module. As on Lambda, a copy runs one invocation at a time."""
    return defaultdict(list)


def load_all() -> None:
    """Load each function, unless it has been loaded."""
    for function in FUNCTIONS:
        if not environments()[function]:
            environments()[function].append(loaded(function))


def loaded(function: str) -> ModuleType:
    """Load another copy of a function's module."""
    path = ROOT / "functions" / function / f"{function}.py"
    spec = importlib.util.spec_from_file_location(f"simulated_{function}_{next(_numbers)}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pydantic looks up the names in annotations here
    spec.loader.exec_module(module)
    return module


@cache
def resources() -> dict[str, Any]:
    """Return the template's resources with the parameters' defaults. Only `!Ref` is evaluated."""

    class Loader(yaml.SafeLoader):
        pass

    text = (ROOT / "template.yaml").read_text()
    Loader.add_multi_constructor("!", lambda *_: None)
    parameters = yaml.load(text, Loader)["Parameters"]
    Loader.add_constructor("!Ref", lambda _, node: parameters.get(node.value, {}).get("Default"))
    document = yaml.load(text, Loader)
    found: dict[str, Any] = document["Resources"]
    return found
