"""Leave of botocore's data what the functions use: `python3.13 trim.py FOLDER`, where the packages lie.

botocore brings the models of some 400 services, two thirds of the layer, and one file with the endpoints of them all,
1.2 MB, which each session parses for its first client: a fifth of the time in which boto3 makes it.
"""

import json
import shutil
import sys
from pathlib import Path

SERVICES = ("dynamodb", "events", "s3", "sqs", "ssm")


def trim(packages: Path) -> None:
    """Trim the botocore that lies in `packages`. A second time changes nothing.

    Raises:
        FileNotFoundError: there is none, or it does not know one of `SERVICES`.
    """
    data = packages / "botocore" / "data"
    for service in SERVICES:
        if not (data / service).is_dir():
            raise FileNotFoundError(data / service)
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in SERVICES:
            shutil.rmtree(folder)
    file = data / "endpoints.json"
    endpoints = json.loads(file.read_text())
    for partition in endpoints["partitions"]:
        known = partition["services"]
        partition["services"] = {name: known[name] for name in SERVICES if name in known}
    file.unlink()  # a new one: uv installs hard links, and what is written into one is written into its cache
    file.write_text(json.dumps(endpoints, separators=(",", ":")))


if __name__ == "__main__":
    trim(Path(sys.argv[1]))
