"""What is left of botocore's data in the layer: all that the functions use."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from layers.dependencies import trim
from tests.environment import ROOT
from tests.localcloud import packages

SOURCES = [*(ROOT / "layers/triptych").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    """A folder of packages with a botocore that knows one service too many."""
    data = tmp_path / "packages/botocore/data"
    for service in (*trim.SERVICES, "ec2"):
        (data / service).mkdir(parents=True)
    services: dict[str, object] = {service: {"endpoints": {}} for service in (*trim.SERVICES, "ec2")}
    (data / "endpoints.json").write_text(json.dumps({"partitions": [{"regions": {}, "services": services}]}))
    return tmp_path / "packages"


def test_every_service_that_the_functions_make_a_client_of_is_kept() -> None:
    text = "".join(source.read_text() for source in SOURCES)
    made = set(re.findall(r'\.client\(\s*"([\w-]+)"', text))
    made |= {"dynamodb"} if "pynamodb" in text else set()
    made |= {"ssm"} if "SSMProvider" in text else set()
    assert made == set(trim.SERVICES)


def test_the_local_clouds_functions_have_what_the_layer_has() -> None:
    (_, folder) = packages.import_path(ROOT / "layers/dependencies")
    data = folder / "botocore/data"
    assert {each.name for each in data.iterdir() if each.is_dir()} == set(trim.SERVICES)
    for partition in json.loads((data / "endpoints.json").read_text())["partitions"]:
        assert set(partition["services"]) <= set(trim.SERVICES)


def test_all_else_goes_and_a_second_time_changes_nothing(packaged: Path) -> None:
    for _ in range(2):
        trim.trim(packaged)
        data = packaged / "botocore/data"
        assert {each.name for each in data.iterdir()} == {*trim.SERVICES, "endpoints.json"}
        (partition,) = json.loads((data / "endpoints.json").read_text())["partitions"]
        assert set(partition["services"]) == set(trim.SERVICES)


def test_what_uv_has_linked_elsewhere_stays_whole(packaged: Path, tmp_path: Path) -> None:
    file = packaged / "botocore/data/endpoints.json"
    before = file.read_bytes()
    os.link(file, tmp_path / "cached")
    trim.trim(packaged)
    assert (tmp_path / "cached").read_bytes() == before != file.read_bytes()


def test_a_service_that_botocore_does_not_know_is_told(packaged: Path) -> None:
    (packaged / "botocore/data/sqs").rmdir()
    with pytest.raises(FileNotFoundError, match="sqs"):
        trim.trim(packaged)
    assert (packaged / "botocore/data/ec2").exists()
