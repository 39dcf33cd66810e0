from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from typing import cast
from typing import Literal, cast
import datetime

if TYPE_CHECKING:
  from ..models.upload_headers import UploadHeaders





T = TypeVar("T", bound="Upload")



@_attrs_define
class Upload:
    """ How to upload the photo. The URL accepts one upload, with exactly these headers.

        Attributes:
            method (Literal['PUT']):
            url (str):
            headers (UploadHeaders):
            expires_at (datetime.datetime):
     """

    method: Literal['PUT']
    url: str
    headers: UploadHeaders
    expires_at: datetime.datetime
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        from ..models.upload_headers import UploadHeaders # noqa: PLC0415
        method = self.method

        url = self.url

        headers = self.headers.to_dict()

        expires_at = self.expires_at.isoformat()


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "method": method,
            "url": url,
            "headers": headers,
            "expires_at": expires_at,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.upload_headers import UploadHeaders # noqa: PLC0415
        d = dict(src_dict)
        method = cast(Literal['PUT'] , d.pop("method"))
        if method != 'PUT':
            raise ValueError(f"method must match const 'PUT', got '{method}'")

        url = d.pop("url")

        headers = UploadHeaders.from_dict(d.pop("headers"))




        expires_at = datetime.datetime.fromisoformat(d.pop("expires_at"))




        upload = cls(
            method=method,
            url=url,
            headers=headers,
            expires_at=expires_at,
        )


        upload.additional_properties = d
        return upload

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
