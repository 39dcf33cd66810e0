from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from typing import cast






T = TypeVar("T", bound="Progress")



@_attrs_define
class Progress:
    """ Seconds from `started_at` to the end of recent jobs of the same model. Null if too few are known.

        Attributes:
            typical_seconds (float | None): Half of the jobs took no longer.
            slow_seconds (float | None): Nine of ten jobs took no longer.
     """

    typical_seconds: float | None
    slow_seconds: float | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        typical_seconds: float | None
        typical_seconds = self.typical_seconds

        slow_seconds: float | None
        slow_seconds = self.slow_seconds


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "typical_seconds": typical_seconds,
            "slow_seconds": slow_seconds,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        def _parse_typical_seconds(data: object) -> float | None:
            if data is None:
                return data
            return cast(float | None, data)

        typical_seconds = _parse_typical_seconds(d.pop("typical_seconds"))


        def _parse_slow_seconds(data: object) -> float | None:
            if data is None:
                return data
            return cast(float | None, data)

        slow_seconds = _parse_slow_seconds(d.pop("slow_seconds"))


        progress = cls(
            typical_seconds=typical_seconds,
            slow_seconds=slow_seconds,
        )


        progress.additional_properties = d
        return progress

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
