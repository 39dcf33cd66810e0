"""What `sam build` has put into the layers.

`python3 -m tests.sam.layers` prints their sizes, and fails where they are too large, hold what only a test needs,
or lack what the functions import.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.environment import ROOT

BUILT = ROOT / ".aws-sam" / "build"
LARGEST_MIB = 60  # unzipped, all layers that every function carries; Lambda's own limit is 250 MB
EXPECTED = {
    "DependenciesLayer": ("boto3", "botocore", "pydantic", "pynamodb", "replicate", "aws_lambda_powertools"),
    "TriptychLayer": ("triptych/job.py",),
}
NEVER = ("conftest.py", "pytest", "moto", "hypothesis", "mypy")  # nothing that only a test needs


def size(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def problems() -> list[str]:
    """What is wrong with the layers as they were built."""
    found = []
    total = 0
    for layer, names in EXPECTED.items():
        root = BUILT / layer / "python"
        total += size(BUILT / layer)
        print(f"{layer}: {size(BUILT / layer) / 2**20:.1f} MiB unzipped")  # noqa: T201  # a command's output
        found += [f"{layer} lacks {name}" for name in names if not (root / name).exists()]
        found += [f"{layer} holds {name}" for name in NEVER if (root / name).exists()]
        tests = [file for file in root.rglob("*") if file.name == "tests" or file.name.startswith("test_")]
        found += [f"{layer} holds {file.relative_to(root)}" for file in tests]
    print(f"all layers: {total / 2**20:.1f} MiB unzipped, {LARGEST_MIB} allowed")  # noqa: T201  # as above
    if total > LARGEST_MIB * 2**20:
        found.append(f"the layers are larger than {LARGEST_MIB} MiB")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(problems()) or 0)
