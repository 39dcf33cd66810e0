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
  from ..models.error_view import ErrorView
  from ..models.image_view import ImageView
  from ..models.job_view_metadata import JobViewMetadata
  from ..models.photo_view import PhotoView
  from ..models.progress import Progress
  from ..models.upload import Upload





T = TypeVar("T", bound="JobView")



@_attrs_define
class JobView:
    """ 
        Attributes:
            job_id (UUID):
            status (JobStatus):
            created_at (datetime.datetime):
            updated_at (datetime.datetime):
            started_at (datetime.datetime | None): When the photo arrived, or the last retry.
            ended_at (datetime.datetime | None): When the job ended.
            model (None | str): The model that the order chose. Null: the stack's own.
            style (None | str):
            prompt (None | str): The job's own prompt, without the style's.
            metadata (JobViewMetadata):
            progress (None | Progress): How long the job may take. Null unless images are generated.
            upload (None | Upload): How to upload the photo, as long as the job awaits an upload. Null in lists, and in the
                job's last minutes, which are left to uploads under way.
            photo (None | PhotoView): Null until the photo has arrived.
            images (list[ImageView]):
            error (ErrorView | None): Why a job that is FAILED or EXPIRED has no output. Null in any other status.
     """

    job_id: UUID
    status: JobStatus
    created_at: datetime.datetime
    updated_at: datetime.datetime
    started_at: datetime.datetime | None
    ended_at: datetime.datetime | None
    model: None | str
    style: None | str
    prompt: None | str
    metadata: JobViewMetadata
    progress: None | Progress
    upload: None | Upload
    photo: None | PhotoView
    images: list[ImageView]
    error: ErrorView | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        from ..models.error_view import ErrorView # noqa: PLC0415
        from ..models.image_view import ImageView # noqa: PLC0415
        from ..models.job_view_metadata import JobViewMetadata # noqa: PLC0415
        from ..models.photo_view import PhotoView # noqa: PLC0415
        from ..models.progress import Progress # noqa: PLC0415
        from ..models.upload import Upload # noqa: PLC0415
        job_id = str(self.job_id)

        status = self.status.value

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

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

        model: None | str
        model = self.model

        style: None | str
        style = self.style

        prompt: None | str
        prompt = self.prompt

        metadata = self.metadata.to_dict()

        progress: dict[str, Any] | None
        if isinstance(self.progress, Progress):
            progress = self.progress.to_dict()
        else:
            progress = self.progress

        upload: dict[str, Any] | None
        if isinstance(self.upload, Upload):
            upload = self.upload.to_dict()
        else:
            upload = self.upload

        photo: dict[str, Any] | None
        if isinstance(self.photo, PhotoView):
            photo = self.photo.to_dict()
        else:
            photo = self.photo

        images = []
        for images_item_data in self.images:
            images_item = images_item_data.to_dict()
            images.append(images_item)



        error: dict[str, Any] | None
        if isinstance(self.error, ErrorView):
            error = self.error.to_dict()
        else:
            error = self.error


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "job_id": job_id,
            "status": status,
            "created_at": created_at,
            "updated_at": updated_at,
            "started_at": started_at,
            "ended_at": ended_at,
            "model": model,
            "style": style,
            "prompt": prompt,
            "metadata": metadata,
            "progress": progress,
            "upload": upload,
            "photo": photo,
            "images": images,
            "error": error,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.error_view import ErrorView # noqa: PLC0415
        from ..models.image_view import ImageView # noqa: PLC0415
        from ..models.job_view_metadata import JobViewMetadata # noqa: PLC0415
        from ..models.photo_view import PhotoView # noqa: PLC0415
        from ..models.progress import Progress # noqa: PLC0415
        from ..models.upload import Upload # noqa: PLC0415
        d = dict(src_dict)
        job_id = UUID(d.pop("job_id"))




        status = JobStatus(d.pop("status"))




        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))




        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))




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


        def _parse_model(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        model = _parse_model(d.pop("model"))


        def _parse_style(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        style = _parse_style(d.pop("style"))


        def _parse_prompt(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        prompt = _parse_prompt(d.pop("prompt"))


        metadata = JobViewMetadata.from_dict(d.pop("metadata"))




        def _parse_progress(data: object) -> None | Progress:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                progress_type_0 = Progress.from_dict(data)



                return progress_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Progress, data)

        progress = _parse_progress(d.pop("progress"))


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


        def _parse_photo(data: object) -> None | PhotoView:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                photo_type_0 = PhotoView.from_dict(data)



                return photo_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | PhotoView, data)

        photo = _parse_photo(d.pop("photo"))


        images = []
        _images = d.pop("images")
        for images_item_data in (_images):
            images_item = ImageView.from_dict(images_item_data)



            images.append(images_item)


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


        job_view = cls(
            job_id=job_id,
            status=status,
            created_at=created_at,
            updated_at=updated_at,
            started_at=started_at,
            ended_at=ended_at,
            model=model,
            style=style,
            prompt=prompt,
            metadata=metadata,
            progress=progress,
            upload=upload,
            photo=photo,
            images=images,
            error=error,
        )


        job_view.additional_properties = d
        return job_view

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
