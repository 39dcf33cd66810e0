from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..types import UNSET, Unset






T = TypeVar("T", bound="OrderedImage")



@_attrs_define
class OrderedImage:
    """ What one image should be.

        Attributes:
            prompt (str | Unset): In place of the job's prompt.
            seed (int | Unset): The same seed gives a similar image. A retry takes another one, unless Replicate still holds
                the image's output.
     """

    prompt: str | Unset = UNSET
    seed: int | Unset = UNSET





    def to_dict(self) -> dict[str, Any]:
        prompt = self.prompt

        seed = self.seed


        field_dict: dict[str, Any] = {}

        field_dict.update({
        })
        if prompt is not UNSET:
            field_dict["prompt"] = prompt
        if seed is not UNSET:
            field_dict["seed"] = seed

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        prompt = d.pop("prompt", UNSET)

        seed = d.pop("seed", UNSET)

        ordered_image = cls(
            prompt=prompt,
            seed=seed,
        )

        return ordered_image

