from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from typing import cast






T = TypeVar("T", bound="PhotoView")



@_attrs_define
class PhotoView:
    """ The uploaded photo.

        Attributes:
            url (None | str): Presigned URL, valid for a limited time. It stays the same for a while, so that browsers cache
                it. Null in lists.
            preview_url (None | str): A WebP of at most 512 pixels. Presigned URL, valid for a limited time. It stays the
                same for a while, so that browsers cache it. Null if there is no preview.
            content_type (str):
            size (int): Size in bytes.
            width (int | None): Pixels. Null without a preview.
            height (int | None): Pixels. Null without a preview.
            color (None | str): Average colour, for the time before the preview has loaded.
     """

    url: None | str
    preview_url: None | str
    content_type: str
    size: int
    width: int | None
    height: int | None
    color: None | str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        url: None | str
        url = self.url

        preview_url: None | str
        preview_url = self.preview_url

        content_type = self.content_type

        size = self.size

        width: int | None
        width = self.width

        height: int | None
        height = self.height

        color: None | str
        color = self.color


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "url": url,
            "preview_url": preview_url,
            "content_type": content_type,
            "size": size,
            "width": width,
            "height": height,
            "color": color,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        def _parse_url(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        url = _parse_url(d.pop("url"))


        def _parse_preview_url(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        preview_url = _parse_preview_url(d.pop("preview_url"))


        content_type = d.pop("content_type")

        size = d.pop("size")

        def _parse_width(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        width = _parse_width(d.pop("width"))


        def _parse_height(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        height = _parse_height(d.pop("height"))


        def _parse_color(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        color = _parse_color(d.pop("color"))


        photo_view = cls(
            url=url,
            preview_url=preview_url,
            content_type=content_type,
            size=size,
            width=width,
            height=height,
            color=color,
        )


        photo_view.additional_properties = d
        return photo_view

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
