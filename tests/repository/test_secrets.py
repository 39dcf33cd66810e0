"""No file of the repository holds a secret, as far as its form tells."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.environment import ROOT

# https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns names the forms.
FORMS = {
    "a key of AWS": r"\b(AKIA|ASIA)[A-Z2-7]{16}\b",
    "a token of Replicate": r"\br8_[A-Za-z0-9]{37}\b",
    "a webhooks' secret of Replicate": r"\bwhsec_[A-Za-z0-9+/]{32}\b",
    "a token of GitHub": r"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{82})\b",
    "a token of PyPI": r"\bpypi-[A-Za-z0-9_-]{80,}",
    "a token of Slack": r"\bxox[abprs]-[A-Za-z0-9-]{20,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}",
    "a signed token": r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{30,}",
    "a signature of AWS": r"X-Amz-Signature=[0-9a-f]{64}",
}
EXAMPLES = {  # put together here, so that this file holds none
    "a key of AWS": "AKIA" + "A" * 16,
    "a token of Replicate": "r8_" + "a" * 37,
    "a webhooks' secret of Replicate": "whsec_" + "a" * 32,
    "a token of GitHub": "ghp_" + "a" * 36,
    "a token of PyPI": "pypi-" + "a" * 90,
    "a token of Slack": "xoxb-" + "1" * 24,
    "a private key": "-----BEGIN PRIVATE" + " KEY-----\n" + "a" * 64,
    "a signed token": ".".join(("eyJ" + "a" * 30, "eyJ" + "b" * 30, "c" * 43)),
    "a signature of AWS": "X-Amz-Signature=" + "a" * 64,
}
# Text in the form of a secret that is none, each with its reason.
HARMLESS = {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",  # the documentation of Svix and Replicate
    "AKIAIOSFODNN7EXAMPLE",  # AWS's documentation
}


def found_in(text: str) -> list[str]:
    return [
        what for what, form in FORMS.items() for found in re.finditer(form, text) if found[0] not in HARMLESS
    ]


def test_no_file_holds_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert len(files) > 300
    texts = {file: file.read_bytes().decode("utf-8", "replace") for file in files if file.is_file()}
    found = {str(file.relative_to(ROOT)): found_in(text) for file, text in texts.items()}
    assert {file: what for file, what in found.items() if what} == {}


@pytest.mark.parametrize("form", FORMS)
def test_secret_of_each_form_is_found(form: str) -> None:
    assert found_in(f"x = {EXAMPLES[form]!r}" if "\n" not in EXAMPLES[form] else EXAMPLES[form]) == [form]
