"""The settings, and the input mapping of each model."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.support.function_environment import ENVIRONMENT
from triptych.models import InputMapping, mapping_for
from triptych.settings import MisconfiguredError, Settings, settings


def test_the_environment_becomes_settings() -> None:
    made = Settings.model_validate({**ENVIRONMENT, "ALLOWED_OUTPUT_HOSTS": "A.example, b.example,,"})
    assert made.allowed_output_hosts == ("a.example", "b.example")
    assert made.replicate_delivery_hosts == ("replicate.delivery",)
    assert str(made.timezone) == "Asia/Seoul"
    assert made.input_mapping.image == "input_image"


def test_delivery_hosts_are_parsed_as_output_hosts_are() -> None:
    given = {**ENVIRONMENT, "REPLICATE_DELIVERY_HOSTS": "A.example, b.example,,"}
    assert Settings.model_validate(given).replicate_delivery_hosts == ("a.example", "b.example")
    assert Settings.model_validate({**given, "REPLICATE_DELIVERY_HOSTS": ""}).replicate_delivery_hosts == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGE_COUNT", "0"),
        ("TIMEZONE", "Asia/Nowhere"),
        ("TABLE", None),
        ("REPLICATE_INPUT_MAPPING", "{"),
        ("REPLICATE_INPUT_MAPPING", '{"img": "x"}'),
    ],
)
def test_invalid_setting_is_named(name: str, value: str | None) -> None:
    environment = {key: text for key, text in {**ENVIRONMENT, name: value}.items() if text is not None}
    with pytest.raises(ValidationError, match=name):
        Settings.model_validate(environment)


def test_settings_error_omits_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, text in {**ENVIRONMENT, "REPLICATE_INPUT_MAPPING": '{"image": "x", "other": 1}'}.items():
        monkeypatch.setenv(key, text)
    settings.cache_clear()
    with pytest.raises(MisconfiguredError, match=r"^REPLICATE_INPUT_MAPPING\.other: Extra inputs") as raised:
        settings()
    assert "'x'" not in str(raised.value)
    settings.cache_clear()


def test_given_mapping_overrides_the_preset() -> None:
    given = (
        '{"image": "photo", "image_is_list": true, "prompt": "text", "seed": null, "extra": {"size": "2K"}}'
    )
    mapping = Settings.model_validate({**ENVIRONMENT, "REPLICATE_INPUT_MAPPING": given}).input_mapping
    assert mapping.input_for("https://x", "Paint it.", 7) == {
        "size": "2K",
        "photo": ["https://x"],
        "text": "Paint it.",
    }


def test_version_of_a_known_model_uses_its_preset() -> None:
    mapping = mapping_for("black-forest-labs/flux-kontext-pro:abc")
    assert mapping.input_for("https://x", "Paint it.", 7) == {
        "input_image": "https://x",
        "prompt": "Paint it.",
        "seed": 7,
        "output_format": "png",
    }


def test_an_unknown_model_needs_a_mapping() -> None:
    with pytest.raises(ValueError, match="ReplicateInputMapping"):
        mapping_for("owner/unknown-model")
    assert InputMapping(image="photo")
