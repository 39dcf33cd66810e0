from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.image_status import ImageStatus
from typing import cast
import datetime

if TYPE_CHECKING:
  from ..models.error_view import ErrorView





T = TypeVar("T", bound="ImageView")



@_attrs_define
class ImageView:
    """ 
        Attributes:
            index (int):
            status (ImageStatus):
            prompt (None | str): The image's own prompt, if the order gave it one.
            seed (int | None):
            prediction_id (None | str):
            url (None | str): Presigned URL, valid for a limited time. It stays the same for a while, so that browsers cache
                it. Null until the image is STORED. Null in lists.
            download_url (None | str): As `url`, but a browser saves the image as a file. Null in lists.
            preview_url (None | str): A WebP of at most 512 pixels. Presigned URL, valid for a limited time. It stays the
                same for a while, so that browsers cache it. Null until the image is STORED, and if it has none.
            content_type (None | str):
            size (int | None): Size of the output in bytes.
            width (int | None): Pixels of the output. Null without a preview.
            height (int | None): Pixels of the output. Null without a preview.
            color (None | str): Average colour, for the time before the preview has loaded.
            started_at (datetime.datetime | None): When the image was last requested from the model.
            ended_at (datetime.datetime | None): When the image was stored, failed or was canceled.
            error (ErrorView | None):
     """

    index: int
    status: ImageStatus
    prompt: None | str
    seed: int | None
    prediction_id: None | str
    url: None | str
    download_url: None | str
    preview_url: None | str
    content_type: None | str
    size: int | None
    width: int | None
    height: int | None
    color: None | str
    started_at: datetime.datetime | None
    ended_at: datetime.datetime | None
    error: ErrorView | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        from ..models.error_view import ErrorView # noqa: PLC0415
        index = self.index

        status = self.status.value

        prompt: None | str
        prompt = self.prompt

        seed: int | None
        seed = self.seed

        prediction_id: None | str
        prediction_id = self.prediction_id

        url: None | str
        url = self.url

        download_url: None | str
        download_url = self.download_url

        preview_url: None | str
        preview_url = self.preview_url

        content_type: None | str
        content_type = self.content_type

        size: int | None
        size = self.size

        width: int | None
        width = self.width

        height: int | None
        height = self.height

        color: None | str
        color = self.color

        started_at: None | str
        if isinstance(self.started_at, datetime.datetime):
            started_at = self.started_at.isoformat()
        else:
            started_at = self.started_at

        ended_at: None | str
        if isinstance(self.ended_at, datetime.datetime):
            ended_at = self.ended_at.isoformat()
        else:
            ended_at = self.ended_at

        error: dict[str, Any] | None
        if isinstance(self.error, ErrorView):
            error = self.error.to_dict()
        else:
            error = self.error


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "index": index,
            "status": status,
            "prompt": prompt,
            "seed": seed,
            "prediction_id": prediction_id,
            "url": url,
            "download_url": download_url,
            "preview_url": preview_url,
            "content_type": content_type,
            "size": size,
            "width": width,
            "height": height,
            "color": color,
            "started_at": started_at,
            "ended_at": ended_at,
            "error": error,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.error_view import ErrorView # noqa: PLC0415
        d = dict(src_dict)
        index = d.pop("index")

        status = ImageStatus(d.pop("status"))




        def _parse_prompt(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        prompt = _parse_prompt(d.pop("prompt"))


        def _parse_seed(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        seed = _parse_seed(d.pop("seed"))


        def _parse_prediction_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        prediction_id = _parse_prediction_id(d.pop("prediction_id"))


        def _parse_url(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        url = _parse_url(d.pop("url"))


        def _parse_download_url(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        download_url = _parse_download_url(d.pop("download_url"))


        def _parse_preview_url(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        preview_url = _parse_preview_url(d.pop("preview_url"))


        def _parse_content_type(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        content_type = _parse_content_type(d.pop("content_type"))


        def _parse_size(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        size = _parse_size(d.pop("size"))


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


        def _parse_started_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                started_at_type_0 = datetime.datetime.fromisoformat(data)



                return started_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        started_at = _parse_started_at(d.pop("started_at"))


        def _parse_ended_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                ended_at_type_0 = datetime.datetime.fromisoformat(data)



                return ended_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        ended_at = _parse_ended_at(d.pop("ended_at"))


        def _parse_error(data: object) -> ErrorView | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                error_type_0 = ErrorView.from_dict(data)



                return error_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ErrorView | None, data)

        error = _parse_error(d.pop("error"))


        image_view = cls(
            index=index,
            status=status,
            prompt=prompt,
            seed=seed,
            prediction_id=prediction_id,
            url=url,
            download_url=download_url,
            preview_url=preview_url,
            content_type=content_type,
            size=size,
            width=width,
            height=height,
            color=color,
            started_at=started_at,
            ended_at=ended_at,
            error=error,
        )


        image_view.additional_properties = d
        return image_view

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
