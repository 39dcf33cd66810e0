"""Removes botocore data that no function uses: `python3.13 trim.py FOLDER`, the folder of the packages.

botocore's data describe about 400 services and take two thirds of the layer. A cold start reads the whole description
of each service that the function has a client for. Trimmed, S3's is read 3 times as fast and SSM's 8 times.
The endpoints of all services are in one file of 1.2 MB, which the first client of each session reads.
"""

import gzip
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

# Service → operations that the functions call. botocore itself calls HeadBucket for a bucket in another region.
OPERATIONS = {
    "dynamodb": {"DeleteItem", "GetItem", "PutItem", "Query", "TransactWriteItems", "UpdateItem"},
    "events": {"PutEvents"},
    "s3": {
        "CopyObject",
        "DeleteObject",
        "GetObject",
        "HeadBucket",
        "HeadObject",
        "ListObjectsV2",
        "PutObject",
    },
    "secretsmanager": {"GetSecretValue"},
    "sqs": {"ChangeMessageVisibility", "DeleteMessage", "SendMessage"},
    "ssm": {"GetParameter"},
}

type Json = dict[str, Json] | list[Json] | str | float | None


def trim(packages: Path) -> None:
    """Trim botocore in the folder `packages`. A second run changes nothing.

    Raises:
        FileNotFoundError: botocore or one of the services is missing.
        KeyError: a service has no operation of that name.
    """
    data = packages / "botocore" / "data"
    for service in OPERATIONS:
        if not (data / service).is_dir():
            raise FileNotFoundError(data / service)
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in OPERATIONS:
            shutil.rmtree(folder)
    for service, operations in OPERATIONS.items():
        *older, newest = sorted((data / service).iterdir())  # versions, by date
        for folder in older:
            shutil.rmtree(folder)
        _trim_model(newest / "service-2.json", operations)
    _trim_endpoints(data / "endpoints.json")


def _trim_model(file: Path, operations: set[str]) -> None:
    """Keep only `operations` of a service's model, with their input and output shapes, without documentation."""
    packed = file.with_name(f"{file.name}.gz")
    model = json.loads(gzip.decompress(packed.read_bytes()) if packed.exists() else file.read_bytes())
    packed.unlink(missing_ok=True)
    model["operations"] = {name: model["operations"][name] for name in sorted(operations)}
    used: set[str] = set()
    found = set(_shapes(model["operations"]))
    while found:
        used |= found
        found = {name for each in found for name in _shapes(model["shapes"][each])} - used
    model["shapes"] = {name: shape for name, shape in model["shapes"].items() if name in used}
    for part in ("operations", "shapes"):  # botocore requires the documentation of other parts
        model[part] = _without_documentation(model[part])
    _write(file, model)


def _shapes(part: Json) -> Iterator[str]:
    """Yield the names of the shapes that a part of a model refers to."""
    match part:
        case {"shape": str(name)}:
            yield name
        case {}:
            for each in part.values():
                yield from _shapes(each)
        case [*_]:
            for each in part:
                yield from _shapes(each)


def _without_documentation(part: Json) -> Json:
    match part:
        case {}:
            # A shape's member may have this name, too. Its value is no string.
            return {
                name: _without_documentation(each)
                for name, each in part.items()
                if not (name == "documentation" and isinstance(each, str))
            }
        case [*_]:
            return [_without_documentation(each) for each in part]
        case _:
            return part


def _trim_endpoints(file: Path) -> None:
    endpoints = json.loads(file.read_text())
    for partition in endpoints["partitions"]:
        known = partition["services"]
        partition["services"] = {name: known[name] for name in OPERATIONS if name in known}
    _write(file, endpoints)


def _write(file: Path, content: Json) -> None:
    # Unlink first: uv installs hard links, so writing in place would change uv's cache.
    file.unlink(missing_ok=True)
    file.write_text(json.dumps(content, separators=(",", ":")))


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
