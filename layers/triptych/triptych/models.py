"""How each model at Replicate takes its input. The field names are from the models' own pages, 2026-11."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class InputMapping(BaseModel):
    """The names of a model's input fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(min_length=1, description="The field that takes the photo's URL.")
    image_is_list: bool = Field(default=False, description="Whether that field takes a list of URLs.")
    prompt: str | None = Field(
        default="prompt", description="The field that takes the prompt, if there is one."
    )
    seed: str | None = Field(default="seed", description="The field that takes the seed, if there is one.")
    extra: dict[str, JsonValue] = Field(
        default={}, description="Further input, the same for each prediction."
    )

    def input_for(self, image_url: str, prompt: str, seed: int | None) -> dict[str, JsonValue]:
        """Return the `input` of a prediction."""
        values: dict[str, JsonValue] = dict(self.extra)
        values[self.image] = [image_url] if self.image_is_list else image_url
        if self.prompt:
            values[self.prompt] = prompt
        if self.seed and seed is not None:
            values[self.seed] = seed
        return values


PRESETS: dict[str, InputMapping] = {
    "black-forest-labs/flux-kontext-pro": InputMapping(image="input_image", extra={"output_format": "png"}),
    "black-forest-labs/flux-2-pro": InputMapping(image="input_images", image_is_list=True),
    "google/nano-banana-2": InputMapping(image="image_input", image_is_list=True, seed=None),
    "bytedance/seedream-4": InputMapping(image="image_input", image_is_list=True, seed=None),
    "qwen/qwen-image-edit-2511": InputMapping(image="image", image_is_list=True),
}


def mapping_for(model: str) -> InputMapping:
    """Return the preset of `model`, which may end with a version.

    Raises:
        ValueError: There is no preset. The operator must set ReplicateInputMapping.
    """
    try:
        return PRESETS[model.partition(":")[0]]
    except KeyError:
        known = ", ".join(PRESETS)
        raise ValueError(
            f"There is no input mapping for the model {model!r}. Set ReplicateInputMapping, or use one of {known}."
        ) from None
