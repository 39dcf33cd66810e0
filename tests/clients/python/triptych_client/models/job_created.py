from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.job_status import JobStatus
from typing import cast
from uuid import UUID

if TYPE_CHECKING:
  from ..models.upload import Upload





T = TypeVar("T", bound="JobCreated")



@_attrs_define
class JobCreated:
    """ 
        Attributes:
            job_id (UUID):
            status (JobStatus):
            upload (None | Upload): Null if no photo is to be uploaded: with `photo_of`, or if it has arrived, or if the
                order is repeated in the last minutes before the job expires.
     """

    job_id: UUID
    status: JobStatus
    upload: None | Upload
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        from ..models.upload import Upload # noqa: PLC0415
        job_id = str(self.job_id)

        status = self.status.value

        upload: dict[str, Any] | None
        if isinstance(self.upload, Upload):
            upload = self.upload.to_dict()
        else:
            upload = self.upload


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "job_id": job_id,
            "status": status,
            "upload": upload,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.upload import Upload # noqa: PLC0415
        d = dict(src_dict)
        job_id = UUID(d.pop("job_id"))




        status = JobStatus(d.pop("status"))




        def _parse_upload(data: object) -> None | Upload:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                upload_type_0 = Upload.from_dict(data)



                return upload_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Upload, data)

        upload = _parse_upload(d.pop("upload"))


        job_created = cls(
            job_id=job_id,
            status=status,
            upload=upload,
        )


        job_created.additional_properties = d
        return job_created

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
