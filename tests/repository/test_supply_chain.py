"""Locks wait for a week, uv is installed by its hash, and layers list what they hold."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from layers.dependencies import sbom
from tests import environment, locks
from tests.environment import ROOT

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_upgrade_takes_no_release_of_the_last_week() -> None:
    assert locks.options_of(["--upgrade"], NOW) == ["--upgrade", "--exclude-newer", "2026-11-20T12:00:00Z"]
    assert locks.options_of([], NOW) == []  # a compilation of the same pins asks for no times


def test_uv_is_installed_by_its_hash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if command[-1] == "--version":  # a uv of another version, here and on PATH
            return subprocess.CompletedProcess(command, 0, "uv 0.1.2 (x)")
        ran.append([str(word) for word in command])
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(environment, "CACHE", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    assert environment.uv() == str(tmp_path / "uv/bin/uv")
    install = ran[-1]
    assert {"--require-hashes", "--no-deps"} <= set(install)
    assert install[-1] == str(ROOT / "tests/uv/requirements.txt")


def test_machines_own_uv_must_have_the_pinned_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if command[0] != "uv":
            raise FileNotFoundError
        return subprocess.CompletedProcess(command, 0, f"uv {environment.uv_version()} (x)")

    monkeypatch.setattr(environment, "CACHE", tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    assert environment.uv() == "uv"


# Bills of materials.


def test_both_layers_have_the_same_script() -> None:
    one, other = (ROOT / f"layers/{layer}/sbom.py" for layer in ("dependencies", "imaging"))
    assert one.read_bytes() == other.read_bytes()
    for layer in ("dependencies", "imaging"):
        assert "python3.13 sbom.py" in (ROOT / f"layers/{layer}/Makefile").read_text()


def distribution(folder: Path, name: str, version: str, *lines: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    text = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines])
    (info / "METADATA").write_text(text + "\n")


def test_bill_lists_every_package_and_what_it_needs(tmp_path: Path) -> None:
    packages = tmp_path / "python"
    distribution(
        packages,
        "Zoo_Keeper",
        "2.0",
        "License-Expression: MIT",
        "Requires-Dist: ant>=1; python_version > '3'",
    )
    distribution(
        packages,
        "ant",
        "1.5",
        "Classifier: License :: OSI Approved :: BSD License",
        "Requires-Dist: elsewhere",
    )
    bill = json.loads(json.dumps(sbom.bill(packages, "ALayer")))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert [one["purl"] for one in bill["components"]] == ["pkg:pypi/ant@1.5", "pkg:pypi/zoo-keeper@2.0"]
    assert bill["components"][0]["licenses"] == [{"license": {"name": "BSD License"}}]
    assert bill["components"][1]["licenses"] == [{"expression": "MIT"}]
    needs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert needs["pkg:pypi/zoo-keeper@2.0"] == ["pkg:pypi/ant@1.5"]
    assert needs["pkg:pypi/ant@1.5"] == []
    assert set(needs) == {"ALayer", *needs["ALayer"]}


def test_same_packages_give_the_same_bill(tmp_path: Path) -> None:
    made = []
    for copy in ("one", "two"):
        folder = tmp_path / copy / "python"
        for name in ("b", "a") if copy == "one" else ("a", "b"):
            distribution(folder, name, "1")
        subprocess.run([sys.executable, ROOT / "layers/imaging/sbom.py", folder, "ALayer"], check=True)
        made.append((tmp_path / copy / sbom.FILE).read_bytes())
    assert made[0] == made[1]
