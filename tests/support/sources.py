"""The product's own Python files: the layer and the functions."""

from __future__ import annotations

from tests.environment import ROOT

SOURCES = [*(ROOT / "layers/triptych").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
