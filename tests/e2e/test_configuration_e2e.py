"""The number of images and the model are template parameters."""

from __future__ import annotations

import json

from tests.localcloud import replicate
from tests.localcloud.driving import serving

TOKEN = "r8_the_token_of_this_test"
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
MAPPING = {
    "image": "input_images",
    "image_is_list": True,
    "prompt": "prompt",
    "seed": None,
    "extra": {"output_format": "webp"},
}


def test_image_count_and_model_are_parameters() -> None:
    mapping = f"ReplicateInputMapping='{json.dumps(MAPPING)}'"  # SAM CLI needs the quotes
    overrides = ["ImageCount=4", f"ReplicateModel={VERSION}", mapping]
    options = ["--parameter-overrides", *overrides]
    with replicate.start(TOKEN, seconds=0.3, allow_http_webhooks=True) as stand_in:
        options += ["--replicate-url", stand_in.url]
        with serving(*options, environment={"REPLICATE_API_TOKEN": TOKEN}) as cloud:
            job = cloud.end_of(cloud.start(prompt="A linocut."))
            assert job["status"] == "SUCCEEDED"
            assert [image["content_type"] for image in job["images"]] == ["image/webp"] * 4
            assert len(set(cloud.pictures(job))) == 4
        made = stand_in.ledger().predictions
    assert [sorted(one.input) for one in made] == [["input_images", "output_format", "prompt"]] * 4
