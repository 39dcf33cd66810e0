"""Leave of botocore's data what the functions use: `python3.13 trim.py FOLDER`, where the packages lie.

botocore describes some 400 services, two thirds of the layer, each with all that it can be asked for and its
documentation. Of what a function has a client of, it reads the description at every cold start: of S3's and SSM's,
that takes three and eight times as long as of the little that is used. And one file holds the endpoints of all
services, 1.2 MB, which each session reads for its first client.
"""

import gzip
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

# Service → what it is asked for. botocore itself asks for HeadBucket, where a bucket is not in the function's region.
OPERATIONS = {
    "dynamodb": {"DeleteItem", "GetItem", "PutItem", "Query", "TransactWriteItems"},
    "events": {"PutEvents"},
    "s3": {"DeleteObject", "GetObject", "HeadBucket", "HeadObject", "ListObjectsV2", "PutObject"},
    "sqs": {"ChangeMessageVisibility", "SendMessage"},
    "ssm": {"GetParameter"},
}

type Json = dict[str, Json] | list[Json] | str | float | None


def trim(packages: Path) -> None:
    """Trim the botocore that lies in `packages`. A second time changes nothing.

    Raises:
        FileNotFoundError: there is none, or it does not know one of the services.
        KeyError: a service does not know one of its operations.
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
    """Leave of a service's model `operations`, with the shapes of what goes in and comes out, undocumented."""
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
    for part in ("operations", "shapes"):  # elsewhere botocore insists on it
        model[part] = _without_documentation(model[part])
    _write(file, model)


def _shapes(part: Json) -> Iterator[str]:
    """The names of the shapes that a part of a model refers to."""
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
            # A member of a shape may bear that name, too; it is no text.
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
    # A new file: uv installs hard links, and what is written into one is written into its cache.
    file.unlink(missing_ok=True)
    file.write_text(json.dumps(content, separators=(",", ":")))


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
