"""Checks of what `sam build` has built: the layers, and the bytecode of `api`.

`python3 -m tests.sam.layers` prints the layers' sizes. It fails if a layer is too large, holds a package that only
tests need, holds a document of this repository, or lacks a module, its bytecode or a bill of materials that names exactly
its packages. The imaging layer has its own limit,
because only one function uses it.

`python3 -m tests.sam.layers FOLDER` also fails if another build in FOLDER differs. SAM names an upload by the
digest that is compared here. CloudFormation publishes a layer again only if its digest changes.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from importlib.util import cache_from_source
from pathlib import Path

from layers.dependencies.trim import OPERATIONS
from tests.environment import ROOT

BUILT = ROOT / ".aws-sam" / "build"
LARGEST_MIB = 35  # unzipped, all layers of every function
LARGEST_IMAGING_MIB = 60  # in addition; Lambda's limit for all layers is 250 MB
IMAGING = "ImagingLayer"
API = "ApiFunction"  # alone has so much code that a cold start notices its compiling
EXPECTED = {
    "DependenciesLayer": (
        *("boto3", "botocore", "pydantic", "pynamodb", "replicate", "aws_lambda_powertools"),
        *(f"botocore/data/{service}" for service in OPERATIONS),
    ),
    "TriptychLayer": ("triptych/job.py",),
    IMAGING: ("PIL", "pillow_heif"),
}
LOCKS_OF = {
    "DependenciesLayer": "layers/dependencies/requirements.txt",
    IMAGING: "layers/imaging/requirements.txt",
}
NEVER = ("conftest.py", "pytest", "moto", "hypothesis", "mypy")  # packages that only tests need


def size(folder: Path) -> int:
    """Return the bytes of all files below `folder`."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def digest(folder: Path) -> str:
    """Return the MD5 of the names and contents of all files below, as samcli.lib.utils.hash.dir_checksum does."""
    whole = hashlib.md5(usedforsecurity=False)
    for file in sorted(str(file) for file in folder.rglob("*") if file.is_file()):
        whole.update(str(Path(file).relative_to(folder)).encode())
        whole.update(hashlib.md5(Path(file).read_bytes(), usedforsecurity=False).hexdigest().encode())
    return whole.hexdigest()


def digests(build: Path) -> dict[str, str]:
    """Return the digest of every function and layer of a build, by logical id."""
    return {folder.name: digest(folder) for folder in sorted(build.iterdir()) if folder.is_dir()}


def differences(one: Path, other: Path) -> list[str]:
    """Print the digests; return a sentence for each function or layer that differs between two builds."""
    made, again = digests(one), digests(other)
    for name, found in made.items():
        print(f"{name}: {found}")  # noqa: T201  # a command's output
    return [
        f"{name}: the second build differs: {made.get(name)} and {again.get(name)}"
        for name in sorted(made.keys() | again.keys())
        if made.get(name) != again.get(name)
    ]


def _is_unchecked(bytecode: Path) -> bool:
    """Return whether the bytecode exists and is valid whatever the source's time (PEP 552's flags, after the magic)."""
    return bytecode.exists() and bytecode.read_bytes()[4:8] == b"\1\0\0\0"


def _problems_of_bill(layer: str) -> list[str]:
    """Return a sentence for each difference between a layer's bill of materials, its lock and its packages."""
    if layer not in LOCKS_OF:
        return []  # it holds no packages
    bill = json.loads((BUILT / layer / "sbom.cdx.json").read_text())
    listed = {f"{one['name'].lower().replace('_', '-')}=={one['version']}" for one in bill["components"]}
    pinned = set(re.findall(r"^[\w.-]+==[^\s;\\]+", (ROOT / LOCKS_OF[layer]).read_text(), re.MULTILINE))
    installed = len([*(BUILT / layer / "python").glob("*.dist-info")])
    wrong = [f"the bill lists {one}, which the lock does not pin" for one in sorted(listed - pinned)]
    return wrong + (
        [] if len(listed) == installed else [f"the bill lists {len(listed)} of {installed} packages"]
    )


def _without_bytecode(root: Path) -> list[Path]:
    """Return the modules below `root` that Lambda would have to compile."""
    return [file for file in root.rglob("*.py") if not _is_unchecked(Path(cache_from_source(str(file))))]


def problems() -> list[str]:
    """Print the layers' sizes; return a sentence for each problem."""
    found = []
    sizes = {layer: size(BUILT / layer) / 2**20 for layer in EXPECTED}
    for layer, names in EXPECTED.items():
        root = BUILT / layer / "python"
        print(f"{layer}: {sizes[layer]:.1f} MiB unzipped")  # noqa: T201  # a command's output
        found += [f"{layer} lacks {name}" for name in names if not (root / name).exists()]
        found += [f"{layer} holds {name}" for name in NEVER if (root / name).exists()]
        found += [f"{layer}: {wrong}" for wrong in _problems_of_bill(layer)]
        tests = [file for file in root.rglob("*") if file.name == "tests" or file.name.startswith("test_")]
        found += [f"{layer} holds {file.relative_to(root)}" for file in tests]
        found += [
            f"{layer} lacks the bytecode of {file.relative_to(root)}" for file in _without_bytecode(root)
        ]
    found += [f"{API} lacks the bytecode of {file.name}" for file in _without_bytecode(BUILT / API)]
    documents = {
        file.read_bytes() for folder in ("functions", "layers") for file in (ROOT / folder).glob("*.md")
    }
    found += [
        f"a build holds a document: {file.relative_to(BUILT)}"
        for file in BUILT.rglob("*.md")
        if file.read_bytes() in documents
    ]
    imaging = sizes.pop(IMAGING)
    for name, mib, largest in (
        ("the layers of every function", sum(sizes.values()), LARGEST_MIB),
        ("the imaging layer", imaging, LARGEST_IMAGING_MIB),
    ):
        print(f"{name}: {mib:.1f} MiB unzipped, {largest} MiB allowed")  # noqa: T201  # as above
        if mib > largest:
            found.append(f"{name}: larger than {largest} MiB")
    return found


if __name__ == "__main__":
    wrong = problems()
    for folder in sys.argv[1:]:
        wrong += differences(BUILT, Path(folder))
    sys.exit("\n".join(wrong) or 0)
