"""The imports of each function when it starts, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.environment import ROOT
from tests.localcloud import packages
from tests.support.function_environment import ENVIRONMENT

# Packages that take long to import: for photos, for Replicate and its HTTP client, and parts of Powertools. Its batch
# processor imports the parser if pydantic was imported before.
IMAGING, REPLICATE, HTTP = "PIL", "replicate", "httpx"
DESCRIPTION = "aws_lambda_powertools.event_handler.openapi.models"
PARSING = "aws_lambda_powertools.utilities.parser"
ROUTING = "aws_lambda_powertools.event_handler"
QUEUES = "triptych.aws.queues"  # only an order with a URL needs it there
NEVER = {
    "announce": {IMAGING, REPLICATE, HTTP, PARSING, ROUTING, QUEUES},
    "api": {IMAGING, REPLICATE, HTTP, PARSING, DESCRIPTION},
    "callback": {IMAGING, REPLICATE, PARSING, ROUTING},
    "generate": {IMAGING, PARSING, ROUTING},  # imported when a photo has to be opened
    "watchdog": {IMAGING, REPLICATE, HTTP, PARSING, ROUTING},
    "webhook": {IMAGING, PARSING, ROUTING},
    "page": {"boto3", "botocore", "pydantic", "aws_lambda_powertools", "triptych", "dataclasses", "typing"},
}
# Imported at init, because the first event needs it.
WITH_INIT = {"httpcore", "replicate.client", "aws_lambda_powertools.utilities.parameters"}
PAGE = {
    "BUCKET_URL": "https://b",
    "COGNITO_URL": "https://c",
    "COGNITO_CLIENT_ID": "",
    "MAX_UPLOAD_BYTES": "1",
}
MODULES = "import json, sys, {name}; print(json.dumps(sorted(sys.modules)))"
CLIENTS = """
import json
import botocore.session
made = []
init = botocore.session.Session.__init__
def counted(self, *args, **kwargs):
    made.append(self)
    init(self, *args, **kwargs)
botocore.session.Session.__init__ = counted
from triptych.aws import bucket, event_bus, parameters, queues, table
clients = [event_bus._events(), bucket._s3(), queues._sqs(), parameters.provider().client]
for model in (table._Job, table._Gone):
    model.Meta.table_name = "jobs"
    clients.append(model._get_connection().connection.client)
configs = [client.meta.config for client in clients]
connect, read = (max(getattr(one, name) for one in configs) for name in ("connect_timeout", "read_timeout"))
print(json.dumps({"sessions": len(made), "connect": connect, "read": read}))
"""
BUILT = """
import json, {name}
from triptych.lazy import Lazy
kinds = Lazy.__subclasses__()
print(json.dumps([len(kinds), [kind.__name__ for kind in kinds if kind.__pydantic_complete__]]))
"""
COLLECTIONS = """
import gc, json
made = lambda: sum(generation["collections"] for generation in gc.get_stats())
before = made()
import {name}
print(json.dumps([made() - before, gc.isenabled(), gc.get_freeze_count() > 0]))
"""


def printed(name: str, code: str) -> Any:
    """Return the JSON that `code` prints in the environment of function `name`."""
    layers = [
        path
        for layer in ("triptych", "dependencies", "imaging")
        for path in packages.import_path(ROOT / "layers" / layer)
    ]
    path = [ROOT / "functions" / name, *layers]
    environment = {**ENVIRONMENT, **PAGE, "PATH": os.defpath, "PYTHONPATH": os.pathsep.join(map(str, path))}
    base: str = getattr(sys, "_base_executable", sys.executable)
    done = subprocess.run([base, "-S", "-P", "-c", code], env=environment, check=True, capture_output=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NEVER)
def test_function_imports_no_unneeded_package(name: str) -> None:
    imported = printed(name, MODULES.format(name=name))
    assert name in imported
    assert not NEVER[name] & set(imported)


def test_aws_clients_share_one_session_and_its_timeouts() -> None:
    assert printed("announce", CLIENTS) == {"sessions": 1, "connect": 2, "read": 10}


@pytest.mark.parametrize("name", ["generate", "webhook"])
def test_packages_for_the_first_event_are_imported_at_init(name: str) -> None:
    imported = printed(name, MODULES.format(name=name))
    assert set(imported) >= WITH_INIT


@pytest.mark.parametrize("name", ["announce", "api", "callback", "generate", "watchdog", "webhook"])
def test_garbage_collection_starts_after_init(name: str) -> None:
    made, on, frozen = printed(name, COLLECTIONS.format(name=name))
    assert made <= 1  # before the function's first line; about 40 without the delay
    assert (on, frozen) == (True, True)


@pytest.mark.parametrize("name", ["api", "generate", "watchdog", "webhook"])
def test_models_are_not_built_before_they_are_used(name: str) -> None:
    known, built = printed(name, BUILT.format(name=name))
    assert known
    assert built == []
