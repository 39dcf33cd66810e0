from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.image_status import ImageStatus
from typing import cast

if TYPE_CHECKING:
  from ..models.ended_error import EndedError





T = TypeVar("T", bound="EndedImage")



@_attrs_define
class EndedImage:
    """ 
        Attributes:
            index (int):
            status (ImageStatus):
            seed (int | None):
            prediction_id (None | str):
            content_type (None | str):
            size (int | None):
            error (EndedError | None):
     """

    index: int
    status: ImageStatus
    seed: int | None
    prediction_id: None | str
    content_type: None | str
    size: int | None
    error: EndedError | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        from ..models.ended_error import EndedError # noqa: PLC0415
        index = self.index

        status = self.status.value

        seed: int | None
        seed = self.seed

        prediction_id: None | str
        prediction_id = self.prediction_id

        content_type: None | str
        content_type = self.content_type

        size: int | None
        size = self.size

        error: dict[str, Any] | None
        if isinstance(self.error, EndedError):
            error = self.error.to_dict()
        else:
            error = self.error


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "index": index,
            "status": status,
            "seed": seed,
            "prediction_id": prediction_id,
            "content_type": content_type,
            "size": size,
            "error": error,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.ended_error import EndedError # noqa: PLC0415
        d = dict(src_dict)
        index = d.pop("index")

        status = ImageStatus(d.pop("status"))




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


        def _parse_error(data: object) -> EndedError | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                error_type_0 = EndedError.from_dict(data)



                return error_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(EndedError | None, data)

        error = _parse_error(d.pop("error"))


        ended_image = cls(
            index=index,
            status=status,
            seed=seed,
            prediction_id=prediction_id,
            content_type=content_type,
            size=size,
            error=error,
        )


        ended_image.additional_properties = d
        return ended_image

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
