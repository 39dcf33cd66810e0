"""The function that serves the page, and the parameter `ServePage`."""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from types import ModuleType
from typing import Any

import pytest

from tests.environment import ROOT
from tests.localcloud import s3_cors
from tests.localcloud.resources import CorsConfiguration, PoolPolicies
from tests.localcloud.template import load
from tests.support.page_function import EVENT, get, page_with, policy, text_of


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return page_with(monkeypatch)


def test_sample_event_returns_the_page(page: ModuleType) -> None:
    answer = page.handler(EVENT, None)
    answer["body"] = text_of(answer)
    assert answer["statusCode"] == 200
    assert answer["headers"]["Content-Type"] == "text/html; charset=utf-8"
    assert "Say &quot;cheese&quot;" in answer["body"].replace("\\&quot;", "&quot;")
    assert "<smile>" not in answer["body"]


def modules_in(index: str) -> list[str]:
    """Return the URLs of the modules that start.js loads."""
    named = re.findall(r'<meta name="modules" content="([^"]+)">', index)
    return str(*named).split(" ")


def test_every_file_that_the_page_names_is_served(page: ModuleType) -> None:
    index = get(page, "/")["body"]
    named = {*re.findall(r'(?:src|href)="(/[^"]+)"', index), *modules_in(index)}
    assert {"/page/icon.svg", "/page/page.css", "/page/page.js"} <= {path.partition("?")[0] for path in named}
    assert {get(page, path)["statusCode"] for path in named} == {200}


def test_page_names_exactly_the_modules_that_it_imports(page: ModuleType) -> None:
    named = modules_in(get(page, "/")["body"])
    found, left = set[str](), {f"/page/page.js?{page.VERSION}"}
    while left:
        module = left.pop()
        found.add(module)
        imports = re.findall(r'(?:from|import) "(\./[^"]+)"', get(page, module)["body"])
        left |= {f"/page/{name.removeprefix('./')}" for name in imports} - found
    assert sorted(found) == sorted(named)


def test_page_starts_with_one_module_that_imports_none(page: ModuleType) -> None:
    scripts = re.findall(r"<script[^>]*>", get(page, "/")["body"])
    assert scripts == [f'<script type="module" src="/page/start.js?{page.VERSION}">']
    assert not re.search(r'(?:from|import) "', get(page, "/page/start.js")["body"])


def test_file_with_its_version_is_kept_by_the_browser(page: ModuleType) -> None:
    kept = get(page, f"/page/page.css?{page.VERSION}")["headers"]["Cache-Control"]
    assert kept == "public, max-age=31536000, immutable"
    for path in ("/", "/page/page.css", "/page/page.css?v=0123456789ab", f"/?{page.VERSION}"):
        assert get(page, path)["headers"]["Cache-Control"] == "no-cache"


def test_files_are_compressed_for_a_browser_that_asks(page: ModuleType) -> None:
    plain = get(page, "/page/page.js")
    answer = page.handler(
        {**EVENT, "rawPath": "/page/page.js", "headers": {"accept-encoding": "br, gzip"}}, None
    )
    assert answer["headers"]["Content-Encoding"] == "gzip"
    assert answer["headers"]["ETag"] == f"W/{plain['headers']['ETag']}"
    assert gzip.decompress(base64.b64decode(answer["body"])).decode() == plain["body"]
    again = get(page, "/page/page.js", **{"if-none-match": answer["headers"]["ETag"]})
    assert again["statusCode"] == 304


def test_first_view_is_below_100_kb_without_its_pictures(page: ModuleType) -> None:
    index = get(page, "/")["body"]
    named = re.findall(r'(?:src|href)="(/page/[^"]+)"', index) + modules_in(index)
    files = {path.partition("?")[0] for path in named}
    for language in ("/page/en.json", "/page/ko.json"):
        sizes = {path: len(page.FILES[path].packed) for path in {"/", language} | files}
        assert sum(sizes.values()) < 100_000, sizes


def test_description_is_shown_from_the_stack_alone(page: ModuleType) -> None:
    answer = get(page, "/api/v1/docs")
    assert answer["headers"]["Content-Type"].startswith("text/html")
    named = set(re.findall(r'(?:src|href)="([^"]+)"', answer["body"]))
    assert named == {
        *("/page/icon.svg", "/page/page.css", "/page/docs.css", "/page/docs.js"),
        "/api/v1/openapi.json",
    }
    for path in named - {"/api/v1/openapi.json"}:
        assert get(page, path)["statusCode"] == 200
    assert "//" not in re.sub(r"^ *//.*$| // .*$", "", get(page, "/page/docs.js")["body"], flags=re.MULTILINE)


def test_known_etag_returns_304(page: ModuleType) -> None:
    answer = get(page, "/page/page.css")
    again = get(page, "/page/page.css", **{"if-none-match": f"W/{answer['headers']['ETag']}"})
    assert (again["statusCode"], again.get("body")) == (304, None)


def test_the_etag_changes_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    etags = {get(page_with(monkeypatch, IMAGE_COUNT=count), "/")["headers"]["ETag"] for count in "123"}
    assert len(etags) == 3


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/page/page.css", "/page/icon.svg", "/other"])
def test_every_answer_of_the_page_has_its_security_headers(page: ModuleType, path: str) -> None:
    answer = get(page, path)
    again = get(page, path, **{"if-none-match": answer["headers"].get("ETag", "")})
    for headers in (answer["headers"], again["headers"]):
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        features = headers["Permissions-Policy"].split(", ")
        assert {"camera=()", "geolocation=()", "microphone=()", "payment=()"} <= set(features)
        assert all(feature.endswith("=()") for feature in features)


@pytest.mark.parametrize(
    "path", ["/page/", "/page/page.py", "/page/index.html", "/page/../page.py", "/other"]
)
def test_other_paths_return_404(page: ModuleType, path: str) -> None:
    answer = get(page, path)
    assert answer["statusCode"] == 404
    assert json.loads(answer["body"])["error"]["code"] == "route_not_found"


def test_policy_allows_only_the_api_the_bucket_and_cognito(page: ModuleType) -> None:
    allowed = policy(page)
    assert allowed["default-src"] == "'none'"
    assert allowed["connect-src"] == (
        "'self' https://photos.s3.eu-west-1.amazonaws.com https://cognito-idp.eu-west-1.amazonaws.com"
    )
    assert not re.search(r"unsafe|\*|http:|data:", " ".join(allowed.values()))


def test_policy_omits_cognito_without_a_user_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_with(monkeypatch, COGNITO_CLIENT_ID="")
    assert "cognito" not in policy(page)["connect-src"]


def test_policy_names_one_address_on_the_local_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    page = page_with(monkeypatch, AWS_ENDPOINT_URL="http://127.0.0.1:5000")
    assert policy(page)["img-src"] == "'self' blob: http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("environment", "accepted"), [({}, False), ({"AWS_ENDPOINT_URL": "http://aws.test"}, True)]
)
def test_only_the_local_cloud_accepts_a_token_in_the_url(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], *, accepted: bool
) -> None:
    body = get(page_with(monkeypatch, **environment), "/")["body"]
    config = re.search(r'<meta name="triptych" content="([^"]+)">', body)
    assert config
    assert json.loads(html.unescape(config[1]))["tokenInLink"] is accepted


def test_password_rule_matches_the_user_pool() -> None:
    policies = PoolPolicies.model_validate(load().resources["UserPool"].properties["Policies"])
    pool = policies.password_policy
    flags = {
        "RequireLowercase": pool.require_lowercase,
        "RequireUppercase": pool.require_uppercase,
        "RequireNumbers": pool.require_numbers,
        "RequireSymbols": pool.require_symbols,
    }
    static = ROOT / "functions/page/static"
    script, index = (static / "door.js").read_text(), (static / "index.html").read_text()
    needs = dict(re.findall(r'^  (Require\w+): \[/.+/, "password\.(\w+)"\],$', script, re.MULTILINE))
    assert set(needs) == {name for name, required in flags.items() if required}
    fields = re.findall(r'autocomplete="new-password" minlength="(\d+)"', index)
    assert fields == [str(pool.minimum_length)] * 2
    for language in ("en", "ko"):
        words = json.loads((static / f"{language}.json").read_text())["password"]
        assert str(pool.minimum_length) in words["rule"]
        assert [words[need] for need in needs.values() if words[need] not in words["rule"]] == []


def test_html_holds_no_inline_script_or_style() -> None:
    index = (ROOT / "functions/page/static/index.html").read_text()
    assert re.findall(r"<script[^>]*>", index) == ['<script type="module" src="/page/start.js$version">']
    assert not re.search(r"<style|\sstyle=|\son\w+=", index)


def test_page_resources_exist_only_with_serve_page() -> None:
    of_it = {name for name in load().resources if name.startswith("Page")}
    assert {"PageFunction", "PageRole", "PageFunctionPagePermission"} <= of_it
    without = load(overrides={"ServePage": "false"})
    assert not [name for name in without.resources if name.startswith("Page")]
    api = json.dumps(without.resources["HttpApi"].properties)
    for path in ("/", "/page/{file}", "/api/v1/docs"):
        assert f'"{path}": {{"Fn::If": ["WithPage", ' in api


API = "https://abc123.execute-api.us-east-1.amazonaws.com"


def rules_of_the_bucket(**overrides: str) -> list[s3_cors.Rule]:
    template = load(overrides=overrides)
    template.scope.attributes["HttpApi"] = {"ApiEndpoint": API}
    cors = template.scope.resolve(template.resources["PhotosBucket"].properties["CorsConfiguration"])
    if cors == {"Ref": "AWS::NoValue"}:
        return []
    found = CorsConfiguration.model_validate(cors).cors_rules
    return [
        s3_cors.Rule(one.allowed_origins, one.allowed_methods, one.allowed_headers, (), None) for one in found
    ]


@pytest.mark.parametrize("others", ["", "https://app.example"])
@pytest.mark.parametrize(("serve_page", "allowed"), [("true", True), ("false", False)])
def test_bucket_allows_the_page_whatever_other_origins_are_allowed(
    serve_page: str, others: str, *, allowed: bool
) -> None:
    rules = rules_of_the_bucket(AllowedOrigins=others, ServePage=serve_page)
    answer = s3_cors.answer(rules, API, "PUT", "content-type,if-none-match")
    assert (answer is not None) is allowed
    assert (s3_cors.answer(rules, "https://app.example", "PUT") is not None) is bool(others)


@pytest.mark.parametrize(
    "origin", ["https://other.execute-api.us-east-1.amazonaws.com", "https://other.example", "null"]
)
def test_no_other_origin_is_allowed_by_default(origin: str) -> None:
    assert s3_cors.answer(rules_of_the_bucket(), origin, "PUT") is None
    assert s3_cors.answer(rules_of_the_bucket(), origin, "GET") is None
    assert cors_of_the_api() == {"Ref": "AWS::NoValue"}


def test_named_origins_may_call_the_api() -> None:
    cors = cors_of_the_api(AllowedOrigins="https://app.example,https://b.example")
    assert cors["allowOrigins"] == ["https://app.example", "https://b.example"]
    assert "idempotency-key" in cors["allowHeaders"]


def cors_of_the_api(**overrides: str) -> Any:
    template = load(overrides=overrides)
    body: Any = template.resources["HttpApi"].properties["Body"]
    return template.scope.resolve(body["x-amazon-apigateway-cors"])
