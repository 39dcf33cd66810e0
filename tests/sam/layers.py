"""What `sam build` has put into the layers.

`python3 -m tests.sam.layers` prints their sizes, and fails where they are too large, hold what only a test needs,
hold one of our documents, or lack what the functions import or its bytecode. The imaging layer, which one function
carries, is counted apart.

With another build's folder behind it, it also fails where that build came to something else. SAM puts a function's
code or a layer under the digest that is compared here, and CloudFormation publishes neither anew while that stands.
"""

from __future__ import annotations

import hashlib
import sys
from importlib.util import cache_from_source
from pathlib import Path

from layers.dependencies.trim import OPERATIONS
from tests.environment import ROOT

BUILT = ROOT / ".aws-sam" / "build"
LARGEST_MIB = 35  # unzipped, all layers that every function carries
LARGEST_IMAGING_MIB = 60  # beside them; Lambda's own limit is 250 MB for all
IMAGING = "ImagingLayer"
EXPECTED = {
    "DependenciesLayer": (
        *("boto3", "botocore", "pydantic", "pynamodb", "replicate", "aws_lambda_powertools"),
        *(f"botocore/data/{service}" for service in OPERATIONS),
    ),
    "TriptychLayer": ("triptych/job.py",),
    IMAGING: ("PIL", "pillow_heif"),
}
NEVER = ("conftest.py", "pytest", "moto", "hypothesis", "mypy")  # nothing that only a test needs


def size(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def digest(folder: Path) -> str:
    """MD5 of the names and contents of all files below, as samcli.lib.utils.hash.dir_checksum makes it."""
    whole = hashlib.md5(usedforsecurity=False)
    for file in sorted(str(file) for file in folder.rglob("*") if file.is_file()):
        whole.update(str(Path(file).relative_to(folder)).encode())
        whole.update(hashlib.md5(Path(file).read_bytes(), usedforsecurity=False).hexdigest().encode())
    return whole.hexdigest()


def digests(build: Path) -> dict[str, str]:
    """Of every function and layer in the folder of a build, by logical id."""
    return {folder.name: digest(folder) for folder in sorted(build.iterdir()) if folder.is_dir()}


def differences(one: Path, other: Path) -> list[str]:
    """What the two builds did not make alike."""
    made, again = digests(one), digests(other)
    for name, found in made.items():
        print(f"{name}: {found}")  # noqa: T201  # a command's output
    return [
        f"{name}: built again, it is another: {made.get(name)} and {again.get(name)}"
        for name in sorted(made.keys() | again.keys())
        if made.get(name) != again.get(name)
    ]


def _is_unchecked(bytecode: Path) -> bool:
    """Whether it is there, and good whatever the time of its source: flags of PEP 552, after the magic number."""
    return bytecode.exists() and bytecode.read_bytes()[4:8] == b"\1\0\0\0"


def problems() -> list[str]:
    """What is wrong with the layers as they were built."""
    found = []
    sizes = {layer: size(BUILT / layer) / 2**20 for layer in EXPECTED}
    for layer, names in EXPECTED.items():
        root = BUILT / layer / "python"
        print(f"{layer}: {sizes[layer]:.1f} MiB unzipped")  # noqa: T201  # a command's output
        found += [f"{layer} lacks {name}" for name in names if not (root / name).exists()]
        found += [f"{layer} holds {name}" for name in NEVER if (root / name).exists()]
        tests = [file for file in root.rglob("*") if file.name == "tests" or file.name.startswith("test_")]
        found += [f"{layer} holds {file.relative_to(root)}" for file in tests]
        found += [
            f"{layer} lacks the bytecode of {file.relative_to(root)}"
            for file in root.rglob("*.py")
            if not _is_unchecked(Path(cache_from_source(str(file))))
        ]
    ours = {file.read_bytes() for folder in ("functions", "layers") for file in (ROOT / folder).glob("*.md")}
    found += [
        f"a build holds a document: {file.relative_to(BUILT)}"
        for file in BUILT.rglob("*.md")
        if file.read_bytes() in ours
    ]
    imaging = sizes.pop(IMAGING)
    for what, mib, largest in (
        ("the layers of every function", sum(sizes.values()), LARGEST_MIB),
        ("the imaging layer", imaging, LARGEST_IMAGING_MIB),
    ):
        print(f"{what}: {mib:.1f} MiB unzipped, {largest} allowed")  # noqa: T201  # as above
        if mib > largest:
            found.append(f"{what}: larger than {largest} MiB")
    return found


if __name__ == "__main__":
    wrong = problems()
    for folder in sys.argv[1:]:
        wrong += differences(BUILT, Path(folder))
    sys.exit("\n".join(wrong) or 0)
