from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.job_status import JobStatus
from typing import cast
from uuid import UUID
import datetime

if TYPE_CHECKING:
  from ..models.ended_error import EndedError
  from ..models.ended_image import EndedImage
  from ..models.job_ended_metadata import JobEndedMetadata





T = TypeVar("T", bound="JobEnded")



@_attrs_define
class JobEnded:
    """ The event's `detail`. Every rule on the bus can read it, so it holds no URL, no key and no prompt.

        Attributes:
            stack (None | str):
            job_id (UUID):
            owner (str):
            status (JobStatus):
            created_at (datetime.datetime):
            updated_at (datetime.datetime):
            metadata (JobEndedMetadata):
            images (list[EndedImage]):
            error (EndedError | None):
     """

    stack: None | str
    job_id: UUID
    owner: str
    status: JobStatus
    created_at: datetime.datetime
    updated_at: datetime.datetime
    metadata: JobEndedMetadata
    images: list[EndedImage]
    error: EndedError | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        from ..models.ended_error import EndedError # noqa: PLC0415
        from ..models.ended_image import EndedImage # noqa: PLC0415
        from ..models.job_ended_metadata import JobEndedMetadata # noqa: PLC0415
        stack: None | str
        stack = self.stack

        job_id = str(self.job_id)

        owner = self.owner

        status = self.status.value

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        metadata = self.metadata.to_dict()

        images = []
        for images_item_data in self.images:
            images_item = images_item_data.to_dict()
            images.append(images_item)



        error: dict[str, Any] | None
        if isinstance(self.error, EndedError):
            error = self.error.to_dict()
        else:
            error = self.error


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "stack": stack,
            "job_id": job_id,
            "owner": owner,
            "status": status,
            "created_at": created_at,
            "updated_at": updated_at,
            "metadata": metadata,
            "images": images,
            "error": error,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.ended_error import EndedError # noqa: PLC0415
        from ..models.ended_image import EndedImage # noqa: PLC0415
        from ..models.job_ended_metadata import JobEndedMetadata # noqa: PLC0415
        d = dict(src_dict)
        def _parse_stack(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        stack = _parse_stack(d.pop("stack"))


        job_id = UUID(d.pop("job_id"))




        owner = d.pop("owner")

        status = JobStatus(d.pop("status"))




        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))




        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))




        metadata = JobEndedMetadata.from_dict(d.pop("metadata"))




        images = []
        _images = d.pop("images")
        for images_item_data in (_images):
            images_item = EndedImage.from_dict(images_item_data)



            images.append(images_item)


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


        job_ended = cls(
            stack=stack,
            job_id=job_id,
            owner=owner,
            status=status,
            created_at=created_at,
            updated_at=updated_at,
            metadata=metadata,
            images=images,
            error=error,
        )


        job_ended.additional_properties = d
        return job_ended

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
