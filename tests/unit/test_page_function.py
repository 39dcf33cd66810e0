"""The function that serves the page, and what the template makes of `ServePage`."""

from __future__ import annotations

import html
import json
import re
from types import ModuleType

import pytest

from tests.environment import ROOT
from tests.localcloud import s3_cors
from tests.localcloud.resources import CorsConfiguration, PoolPolicies
from tests.localcloud.template import load
from tests.unit.page_function import EVENT, get, page_with, policy


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return page_with(monkeypatch)


def test_its_event_is_answered_with_the_page(page: ModuleType) -> None:
    answer = page.handler(EVENT, None)
    assert answer["statusCode"] == 200
    assert answer["headers"]["Content-Type"] == "text/html; charset=utf-8"
    assert "Say &quot;cheese&quot;" in answer["body"].replace("\\&quot;", "&quot;")
    assert "<smile>" not in answer["body"]


def test_every_file_that_the_page_names_is_served(page: ModuleType) -> None:
    named = set(re.findall(r'(?:src|href)="(/[^"]+)"', get(page, "/")["body"]))
    assert named == {"/page/icon.svg", "/page/page.css", "/page/page.js"}
    assert {get(page, path)["statusCode"] for path in named} == {200}


def test_what_is_known_by_its_etag_is_not_sent_again(page: ModuleType) -> None:
    answer = get(page, "/page/page.css")
    again = get(page, "/page/page.css", **{"if-none-match": f"W/{answer['headers']['ETag']}"})
    assert (again["statusCode"], again.get("body")) == (304, None)


def test_the_etag_changes_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    etags = {get(page_with(monkeypatch, IMAGE_COUNT=count), "/")["headers"]["ETag"] for count in "123"}
    assert len(etags) == 3


@pytest.mark.parametrize(
    "path", ["/page/", "/page/page.py", "/page/index.html", "/page/../page.py", "/other"]
)
def test_nothing_else_is_served(page: ModuleType, path: str) -> None:
    answer = get(page, path)
    assert answer["statusCode"] == 404
    assert json.loads(answer["body"])["error"]["code"] == "route_not_found"


def test_nothing_may_be_reached_but_the_api_the_bucket_and_cognito(page: ModuleType) -> None:
    allowed = policy(page)
    assert allowed["default-src"] == "'none'"
    assert allowed["connect-src"] == (
        "'self' https://photos.s3.eu-west-1.amazonaws.com https://cognito-idp.eu-west-1.amazonaws.com"
    )
    assert not re.search(r"unsafe|\*|http:|data:", " ".join(allowed.values()))


def test_with_an_issuer_of_its_own_there_is_no_cognito(monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_with(monkeypatch, COGNITO_CLIENT_ID="")
    assert "cognito" not in policy(page)["connect-src"]


def test_on_the_local_cloud_all_of_aws_is_at_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_with(monkeypatch, AWS_ENDPOINT_URL="http://127.0.0.1:5000")
    assert policy(page)["img-src"] == "'self' blob: http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("environment", "taken"), [({}, False), ({"AWS_ENDPOINT_URL": "http://aws.test"}, True)]
)
def test_only_the_local_cloud_takes_a_token_from_a_link(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, taken: bool
) -> None:
    body = get(page_with(monkeypatch, **environment), "/")["body"]
    told = re.search(r'<meta name="triptych" content="([^"]+)">', body)
    assert told
    assert json.loads(html.unescape(told[1]))["tokenInLink"] is taken


def test_the_rule_for_a_new_password_is_the_pools() -> None:
    policies = PoolPolicies.model_validate(load().resources["UserPool"].properties["Policies"])
    pool = policies.password_policy
    flags = {
        "RequireLowercase": pool.require_lowercase,
        "RequireUppercase": pool.require_uppercase,
        "RequireNumbers": pool.require_numbers,
        "RequireSymbols": pool.require_symbols,
    }
    static = ROOT / "functions/page/static"
    script, index = (static / "page.js").read_text(), (static / "index.html").read_text()
    needs = dict(re.findall(r'^  (Require\w+): \[/.+/, "([^"]+)"\],$', script, re.MULTILINE))
    assert set(needs) == {name for name, required in flags.items() if required}
    field = re.search(r'<input id="password-new"[^>]*minlength="(\d+)"', index)
    assert field
    assert int(field[1]) == pool.minimum_length
    rule = re.search(r'<span id="password-rule"[^>]*>([^<]+)</span>', index)
    assert rule
    said = " ".join(rule[1].split())
    assert said.startswith(f"At least {pool.minimum_length} characters")
    assert [words for words in needs.values() if words not in said] == []


def test_no_script_or_style_stands_in_the_html() -> None:
    index = (ROOT / "functions/page/static/index.html").read_text()
    assert re.findall(r"<script[^>]*>", index) == ['<script type="module" src="/page/page.js">']
    assert not re.search(r"<style|\sstyle=|\son\w+=", index)


def test_without_the_page_nothing_of_it_is_deployed() -> None:
    of_it = {name for name in load().resources if name.startswith("Page")}
    assert {"PageFunction", "PageRole", "PageFunctionPagePermission"} <= of_it
    without = load(overrides={"ServePage": "false"})
    assert not [name for name in without.resources if name.startswith("Page")]
    api = json.dumps(without.resources["HttpApi"].properties)
    for path in ("/", "/page/{file}"):
        assert f'"{path}": {{"Fn::If": ["WithPage", ' in api


@pytest.mark.parametrize(("serve_page", "allowed"), [("true", True), ("false", False)])
def test_the_page_may_use_the_bucket_whatever_other_origins_may(serve_page: str, *, allowed: bool) -> None:
    template = load(overrides={"AllowedOrigins": "https://app.example", "ServePage": serve_page})
    cors = CorsConfiguration.model_validate(
        template.scope.resolve(template.resources["PhotosBucket"].properties["CorsConfiguration"])
    )
    rules = [
        s3_cors.Rule(rule.allowed_origins, rule.allowed_methods, rule.allowed_headers, (), None)
        for rule in cors.cors_rules
    ]
    origin = "https://abc123.execute-api.us-east-1.amazonaws.com"
    answer = s3_cors.answer(rules, origin, "PUT", "content-type,if-none-match")
    assert (answer is not None) is allowed
    assert s3_cors.answer(rules, "https://other.example", "PUT") is None
