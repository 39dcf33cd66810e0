"""Writes a CycloneDX bill of materials: `python3.13 sbom.py FOLDER NAME`, the folder of the packages and the layer's name.

It holds what is installed, by the packages' own metadata. It holds no time and no serial number, so that the same packages
give the same file. The two layers with packages have the same copy of this script: a build sees only its own folder.
"""

import json
import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

type Json = dict[str, Json] | list[Json] | str | int

FILE = "sbom.cdx.json"


def bill(packages: Path, layer: str) -> Json:
    """Return the bill of the packages in a folder (CycloneDX 1.6)."""
    found = sorted(distributions(path=[str(packages)]), key=lambda one: _name(one.name))
    known = {_name(one.name): _purl(one) for one in found}
    needs: list[Json] = [{"ref": layer, "dependsOn": [*sorted(known.values())]}]
    needs += [{"ref": _purl(one), "dependsOn": _needs(one, known)} for one in found]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "library", "bom-ref": layer, "name": layer}},
        "components": [_component(one) for one in found],
        "dependencies": needs,
    }


def _component(one: Distribution) -> Json:
    reference = _purl(one)
    component: dict[str, Json] = {
        "type": "library",
        "bom-ref": reference,
        "name": one.name,
        "version": one.version,
        "purl": reference,
    }
    if expression := one.metadata.get("License-Expression"):
        component["licenses"] = [{"expression": expression}]
    elif names := [name for name in one.metadata.get_all("Classifier", []) if name.startswith("License :: ")]:
        component["licenses"] = [{"license": {"name": name.rpartition(" :: ")[2]}} for name in sorted(names)]
    return component


def _needs(one: Distribution, known: dict[str, str]) -> list[Json]:
    """Return the packages of the layer that this one names. What it needs elsewhere only is not installed."""
    names = {_name(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in one.requires or []}
    return [known[name] for name in sorted(names & known.keys())]


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _purl(one: Distribution) -> str:
    return f"pkg:pypi/{_name(one.name)}@{one.version}"


if __name__ == "__main__":
    folder, name = Path(sys.argv[1]), sys.argv[2]
    folder.parent.joinpath(FILE).write_text(json.dumps(bill(folder, name), indent=1) + "\n")
