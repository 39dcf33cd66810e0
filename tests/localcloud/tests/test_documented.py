"""The local cloud's HTTP API answers as API Gateway documents, case by case."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.localcloud.functions import Functions, Machine
from tests.localcloud.http_api import Gateway
from tests.localcloud.http_server import HttpServer, Response
from tests.localcloud.stack import Authorizer, Cors, Function, HttpApi, Route
from tests.localcloud.throttle import Rate
from tests.recorded import http_api
from tests.recorded.http_api import Api, Case


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("echo")
    (folder / "echo.py").write_text(http_api.HANDLER)
    function = Function("Echo", folder, "echo.handler", 5, 128, {}, ())
    machine = Machine("http://127.0.0.1:9", "us-east-1", "123456789012", "k", "s")
    with HttpServer() as issuer, HttpServer() as server:
        pages = http_api.issuer_pages(issuer.url)
        issuer.start(lambda request: Response(200, (), json.dumps(pages[request.target]).encode()))
        cors = http_api.CORS
        described = HttpApi(
            tuple(
                Route(method, path, "Echo", "own" if needs_token else None)
                for method, path, needs_token in http_api.ROUTES
            ),
            {"own": Authorizer("own", issuer.url, (http_api.AUDIENCE,))},
            Cors(
                tuple(cors["allowOrigins"]),
                tuple(cors["allowMethods"]),
                tuple(cors["allowHeaders"]),
                tuple(cors["exposeHeaders"]),
                cors["maxAge"],
            ),
            {http_api.LIMITED: Rate(2, http_api.RATE)},
        )
        with Functions({"Echo": function}, {"Echo": machine}, workers=1, log=folder / "log") as functions:
            server.start(Gateway(described, functions, cognito=issuer.url, account=machine.account))
            yield Api(server.url, issuer.url)


@pytest.mark.parametrize("case", http_api.CASES, ids=[case.name for case in http_api.CASES])
def test_answer_is_the_documented_one(api: Api, case: Case) -> None:
    assert case.check(api) == case.answer
