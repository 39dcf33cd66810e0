"""The layer's trimmed botocore data: exactly what the functions use."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.loaders import Loader
from botocore.model import Shape

from layers.dependencies import trim
from tests.environment import ROOT
from tests.localcloud import packages
from tests.localcloud.template import translate
from tests.support.sources import SOURCES

LARGEST = 300_000  # bytes of all data; S3's description alone has four times as many before trimming

# Actions of Lambda itself with a function's role: polling and logging.
OF_LAMBDA = {
    *("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"),
    *("sqs:GetQueueAttributes", "sqs:ReceiveMessage"),
    *("logs:CreateLogStream", "logs:PutLogEvents"),
}
# Operations whose IAM actions have other names.
PERMITTED_AS = {
    "dynamodb:TransactWriteItems": {"dynamodb:PutItem", "dynamodb:UpdateItem"},
    "s3:CopyObject": {"s3:GetObject", "s3:PutObject"},
    "s3:HeadBucket": {"s3:ListBucket"},
    "s3:HeadObject": {"s3:GetObject"},
    "s3:ListObjectsV2": {"s3:ListBucket"},
}

MODEL = {
    "metadata": {"protocol": "json"},
    "documentation": "Long.",
    "operations": {
        "Other": {"name": "Other", "input": {"shape": "Unused"}},
    },
    "shapes": {
        "In": {
            "type": "structure",
            "members": {"documentation": {"shape": "Text", "documentation": "Long."}},
        },
        "Text": {"type": "string", "documentation": "Long."},
        "Wrong": {"type": "structure", "members": {}, "exception": True},
        "Unused": {"type": "structure", "members": {"Text": {"shape": "Text"}}},
    },
}
KEPT: dict[str, Any] = {"input": {"shape": "In"}, "errors": [{"shape": "Wrong"}]}


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    """A folder of packages whose botocore has one service, version and operation too many."""
    data = tmp_path / "packages/botocore/data"
    services = {**trim.OPERATIONS, "ec2": set[str]()}
    for service, operations in services.items():
        kept = {name: {"name": name, "documentation": "Long.", **KEPT} for name in operations}
        model = {**MODEL, "operations": {**MODEL["operations"], **kept}}  # type: ignore[dict-item]  # MODEL's values have several types
        for version in ("2006-03-01", "2012-08-10"):
            (data / service / version).mkdir(parents=True)
            packed = gzip.compress(json.dumps(model).encode())
            (data / service / version / "service-2.json.gz").write_bytes(packed)
    endpoints: dict[str, object] = {service: {"endpoints": {}} for service in services}
    (data / "endpoints.json").write_text(json.dumps({"partitions": [{"regions": {}, "services": endpoints}]}))
    return tmp_path / "packages"


def layer_data() -> Path:
    """Return the folder with the botocore data of the local cloud's functions."""
    (_, folder) = packages.import_path(ROOT / "layers/dependencies")
    return folder / "botocore/data"


def client(service: str, data: Path | None = None, region: str = "ap-northeast-2") -> Any:
    """Make a client from the data in the folder, or from botocore's own."""
    session = botocore.session.Session()
    session.set_credentials("test", "test")
    if data:
        loader = Loader(include_default_search_paths=False)
        loader.BUILTIN_DATA_PATH = str(data)  # botocore treats data in another folder as a customer's own
        loader.search_paths.append(str(data))
        session.register_component("data_loader", loader)
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
    )
    return session.create_client(service, region_name=region, config=config)


def described(shape: Shape | None, above: tuple[str, ...] = ()) -> Any:
    """Return a shape without its documentation."""
    if shape is None or shape.name in above:
        return shape and shape.name
    parts: dict[str, Shape] = dict(getattr(shape, "members", {}))
    parts |= {name: getattr(shape, name) for name in ("member", "key", "value") if hasattr(shape, name)}
    within = {name: described(part, (*above, shape.name)) for name, part in parts.items()}
    return shape.name, shape.type_name, shape.serialization, shape.metadata, within


def operations(service: str, data: Path | None = None) -> Iterator[Any]:
    """Yield the description of each kept operation."""
    model = client(service, data).meta.service_model
    for name in sorted(trim.OPERATIONS[service]):
        operation = model.operation_model(name)
        shapes = (operation.input_shape, operation.output_shape, *operation.error_shapes)
        yield name, operation.http, operation.http_checksum, operation.auth_type, *map(described, shapes)


def test_every_service_that_the_functions_use_is_kept() -> None:
    text = "".join(source.read_text() for source in SOURCES)
    made = set(re.findall(r'\.client\(\s*"([\w-]+)"', text))
    made |= {"dynamodb"} if "pynamodb" in text else set()
    made |= {"ssm"} if "SSMProvider" in text else set()
    made |= {"secretsmanager"} if "SecretsProvider" in text else set()
    assert made == set(trim.OPERATIONS)


def test_every_method_that_the_functions_call_is_kept() -> None:
    text = "".join(source.read_text() for source in SOURCES)
    called = set(re.findall(r"_(?:s3|sqs|events)\(\)\s*\.(\w+)\(", text)) - {
        "generate_presigned_url",
        "get_paginator",
    }
    called |= set(re.findall(r'(?:generate_presigned_url|get_paginator)\(\s*"(\w+)"', text))
    assert {"head_object", "list_objects_v2", "change_message_visibility"} < called
    data = layer_data()
    assert called <= {
        name for each in trim.OPERATIONS for name in client(each, data).meta.method_to_api_mapping
    }


def test_kept_operations_are_the_permitted_ones() -> None:
    """`test_roles` shows that each function uses exactly its permissions."""
    resources: Any = translate()["Resources"]
    permitted: set[str] = set()
    for name in ("Api", "Generate", "Webhook", "Watchdog", "Announce", "JobCallback"):
        for policy in resources[f"{name}Role"]["Properties"]["Policies"]:
            if "Fn::If" in policy:
                continue  # kms:Decrypt, which SSM calls on behalf of the function
            for statement in policy["PolicyDocument"]["Statement"]:
                actions = statement["Action"]
                permitted |= {actions} if isinstance(actions, str) else set(actions)
    kept = {f"{service}:{name}" for service, names in trim.OPERATIONS.items() for name in names}
    assert set().union(*(PERMITTED_AS.get(name, {name}) for name in kept)) == permitted - OF_LAMBDA


@pytest.mark.parametrize("service", trim.OPERATIONS)
def test_trimmed_data_describes_exactly_the_kept_operations(service: str) -> None:
    data = layer_data()
    assert set(client(service, data).meta.method_to_api_mapping.values()) == trim.OPERATIONS[service]
    assert list(operations(service, data)) == list(operations(service))


@pytest.mark.parametrize(
    ("region", "suffix"),
    [
        ("us-east-1", "amazonaws.com"),
        ("ap-northeast-2", "amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn"),
        ("us-gov-west-1", "amazonaws.com"),
        ("eusc-de-east-1", "amazonaws.eu"),
    ],
)
@pytest.mark.parametrize("name", ["get_object", "put_object"])
def test_presigned_urls_are_the_same_with_the_trimmed_data(name: str, region: str, suffix: str) -> None:
    params = {"Bucket": "photos", "Key": "a/b c.jpg"}
    before, after = (
        re.sub(r"X-Amz-(Date|Signature)=\w+", "", one.generate_presigned_url(name, Params=params))
        for one in (client("s3", region=region), client("s3", layer_data(), region))
    )
    assert before == after
    assert after.startswith(f"https://photos.s3.{region}.{suffix}/a/")


def test_paginator_is_unchanged() -> None:
    kept = client("s3", layer_data()).get_paginator("list_objects_v2")
    assert kept.result_keys[0].expression == "Contents"


def test_local_cloud_uses_the_trimmed_data() -> None:
    data = layer_data()
    assert {each.name for each in data.iterdir() if each.is_dir()} == set(trim.OPERATIONS)
    for partition in json.loads((data / "endpoints.json").read_text())["partitions"]:
        assert set(partition["services"]) <= set(trim.OPERATIONS)
    assert sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) < LARGEST


def test_trimming_removes_the_rest_and_is_idempotent(packaged: Path) -> None:
    for _ in range(2):
        trim.trim(packaged)
        data = packaged / "botocore/data"
        assert {each.name for each in data.iterdir()} == {*trim.OPERATIONS, "endpoints.json"}
        (partition,) = json.loads((data / "endpoints.json").read_text())["partitions"]
        assert set(partition["services"]) == set(trim.OPERATIONS)
        for service, names in trim.OPERATIONS.items():
            (file,) = (data / service).rglob("*.json*")
            model = json.loads(file.read_text())
            assert file.relative_to(data / service) == Path("2012-08-10/service-2.json")
            assert model["operations"] == {name: {"name": name, **KEPT} for name in names}
            assert model["shapes"] == {
                "In": {"type": "structure", "members": {"documentation": {"shape": "Text"}}},
                "Text": {"type": "string"},
                "Wrong": {"type": "structure", "members": {}, "exception": True},
            }


def test_files_linked_from_uvs_cache_are_unchanged(packaged: Path, tmp_path: Path) -> None:
    file = packaged / "botocore/data/endpoints.json"
    before = file.read_bytes()
    os.link(file, tmp_path / "cached")
    trim.trim(packaged)
    assert (tmp_path / "cached").read_bytes() == before != file.read_bytes()


def test_unknown_service_raises(packaged: Path) -> None:
    (packaged / "botocore/data/sqs").rename(packaged / "sqs")
    with pytest.raises(FileNotFoundError, match="sqs"):
        trim.trim(packaged)
    assert (packaged / "botocore/data/ec2").exists()


def test_unknown_operation_raises(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(trim.OPERATIONS, "ssm", {"GetParameters"})
    with pytest.raises(KeyError, match="GetParameters"):
        trim.trim(packaged)
