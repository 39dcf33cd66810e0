from __future__ import annotations

import pytest

from tests.benchmarks import _floors, cold_start, imports
from tests.environment import ROOT

OUTPUT = """import time: self [us] | cumulative | imported package
import time:       120 |        120 |   _io
import time:      1500 |       9000 |     botocore.session
a warning of some package
import time:        30 |      12000 | watchdog
"""


def test_times_of_modules_are_read_without_what_they_import() -> None:
    assert imports.read(OUTPUT) == {"_io": 120, "botocore.session": 1500, "watchdog": 30}


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("watchdog", imports.OWN),
        ("triptych.aws.table", imports.OWN),
        ("botocore.session", "boto3"),
        ("http.client", imports.STANDARD),
        ("_io", imports.STANDARD),
    ],
)
def test_module_counts_for_its_package(module: str, package: str) -> None:
    assert imports.package_of(module, {"watchdog"}) == package


def test_module_of_an_unknown_package_is_an_error() -> None:
    with pytest.raises(KeyError):
        imports.package_of("numpy.linalg", set())


@pytest.mark.parametrize("function", imports.FUNCTIONS)
def test_each_function_has_imports_and_a_floor(function: str) -> None:
    times = imports.by_package(function, 1)
    assert times[imports.OWN]
    assert ("boto3" in times) == ("boto3" in _floors.FLOORS[function])
    assert ("replicate" in times) == ("replicate" in _floors.FLOORS[function])
    assert ("Pillow" in times) == ("PIL" in _floors.FLOORS[function])


def test_every_function_has_a_floor_and_a_cold_start() -> None:
    functions = {folder.name for folder in (ROOT / "functions").iterdir() if folder.is_dir()}
    assert set(imports.FUNCTIONS) == set(_floors.FLOORS) == functions
    assert {start.function for start in cold_start.STARTS} == functions
