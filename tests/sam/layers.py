"""What `sam build` has put into the layers.

`python3 -m tests.sam.layers` prints their sizes, and fails where they are too large, hold what only a test needs,
or lack what the functions import. The imaging layer, which one function carries, is counted apart.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.environment import ROOT

BUILT = ROOT / ".aws-sam" / "build"
LARGEST_MIB = 60  # unzipped, all layers that every function carries
LARGEST_IMAGING_MIB = 60  # beside them; Lambda's own limit is 250 MB for all
IMAGING = "ImagingLayer"
EXPECTED = {
    "DependenciesLayer": ("boto3", "botocore", "pydantic", "pynamodb", "replicate", "aws_lambda_powertools"),
    "TriptychLayer": ("triptych/job.py",),
    IMAGING: ("PIL", "pillow_heif"),
}
NEVER = ("conftest.py", "pytest", "moto", "hypothesis", "mypy")  # nothing that only a test needs


def size(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


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
    sys.exit("\n".join(problems()) or 0)
