"""The saved query of template.yaml asks only for fields that some log line has."""

from __future__ import annotations

import ast
import re

from tests.localcloud.template import load
from tests.support.sources import SOURCES

# Powertools writes these on every line, and CloudWatch adds those with @.
# https://docs.aws.amazon.com/powertools/python/latest/core/logger/#standard-structured-keys
STANDARD = {"level", "message", "service", "timestamp"}


def logged_fields() -> set[str]:
    """Return the names of the keyword arguments of each call that logs."""
    found: set[str] = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            match node:
                case (
                    ast.Call(func=ast.Attribute(value=ast.Name(id="logger")), keywords=keywords)
                    | ast.Call(func=ast.Name(id="unexpected"), keywords=keywords)
                ):
                    found |= {keyword.arg for keyword in keywords if keyword.arg}
    return found


def test_saved_query_asks_for_logged_fields() -> None:
    (query,) = (one for one in load().resources.values() if one.type == "AWS::Logs::QueryDefinition")
    (fields,) = re.findall(r"^fields (.*)$", str(query.properties["QueryString"]), re.MULTILINE)
    asked = {field for field in fields.split(", ") if not field.startswith("@")}
    assert asked - STANDARD <= logged_fields()
