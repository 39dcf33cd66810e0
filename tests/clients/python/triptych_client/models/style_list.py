from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from typing import cast

if TYPE_CHECKING:
  from ..models.style_view import StyleView





T = TypeVar("T", bound="StyleList")



@_attrs_define
class StyleList:
    """ 
        Attributes:
            styles (list[StyleView]):
     """

    styles: list[StyleView]
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        from ..models.style_view import StyleView # noqa: PLC0415
        styles = []
        for styles_item_data in self.styles:
            styles_item = styles_item_data.to_dict()
            styles.append(styles_item)




        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "styles": styles,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.style_view import StyleView # noqa: PLC0415
        d = dict(src_dict)
        styles = []
        _styles = d.pop("styles")
        for styles_item_data in (_styles):
            styles_item = StyleView.from_dict(styles_item_data)



            styles.append(styles_item)


        style_list = cls(
            styles=styles,
        )


        style_list.additional_properties = d
        return style_list

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
