from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.photo_type import PhotoType
from typing import cast






T = TypeVar("T", bound="LimitsView")



@_attrs_define
class LimitsView:
    """ What an order may ask for, and for how long things last.

        Attributes:
            photo_types (list[PhotoType]):
            max_upload_bytes (int):
            max_photo_pixels (int): Width times height of the photo.
            default_image_count (int):
            max_image_count (int): Of one order. A low daily limit lowers it.
            max_prompt_length (int): Characters.
            max_metadata (int): Entries.
            models (list[str]): The default first.
            takes_seed (bool): Whether the default model takes a seed.
            callback_hosts (list[str]): Hosts of callback URLs, each with its subdomains. Empty: there are no callbacks.
            max_retries (int): Of a job.
            daily_pictures (int | None): Null: no limit.
            max_active_jobs (int | None): Null: no limit.
            upload_url_seconds (int):
            download_url_seconds (int):
            deadline_seconds (int): From the upload to the end of a job.
            retention_days (int):
     """

    photo_types: list[PhotoType]
    max_upload_bytes: int
    max_photo_pixels: int
    default_image_count: int
    max_image_count: int
    max_prompt_length: int
    max_metadata: int
    models: list[str]
    takes_seed: bool
    callback_hosts: list[str]
    max_retries: int
    daily_pictures: int | None
    max_active_jobs: int | None
    upload_url_seconds: int
    download_url_seconds: int
    deadline_seconds: int
    retention_days: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        photo_types = []
        for photo_types_item_data in self.photo_types:
            photo_types_item = photo_types_item_data.value
            photo_types.append(photo_types_item)



        max_upload_bytes = self.max_upload_bytes

        max_photo_pixels = self.max_photo_pixels

        default_image_count = self.default_image_count

        max_image_count = self.max_image_count

        max_prompt_length = self.max_prompt_length

        max_metadata = self.max_metadata

        models = self.models



        takes_seed = self.takes_seed

        callback_hosts = self.callback_hosts



        max_retries = self.max_retries

        daily_pictures: int | None
        daily_pictures = self.daily_pictures

        max_active_jobs: int | None
        max_active_jobs = self.max_active_jobs

        upload_url_seconds = self.upload_url_seconds

        download_url_seconds = self.download_url_seconds

        deadline_seconds = self.deadline_seconds

        retention_days = self.retention_days


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "photo_types": photo_types,
            "max_upload_bytes": max_upload_bytes,
            "max_photo_pixels": max_photo_pixels,
            "default_image_count": default_image_count,
            "max_image_count": max_image_count,
            "max_prompt_length": max_prompt_length,
            "max_metadata": max_metadata,
            "models": models,
            "takes_seed": takes_seed,
            "callback_hosts": callback_hosts,
            "max_retries": max_retries,
            "daily_pictures": daily_pictures,
            "max_active_jobs": max_active_jobs,
            "upload_url_seconds": upload_url_seconds,
            "download_url_seconds": download_url_seconds,
            "deadline_seconds": deadline_seconds,
            "retention_days": retention_days,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        photo_types = []
        _photo_types = d.pop("photo_types")
        for photo_types_item_data in (_photo_types):
            photo_types_item = PhotoType(photo_types_item_data)



            photo_types.append(photo_types_item)


        max_upload_bytes = d.pop("max_upload_bytes")

        max_photo_pixels = d.pop("max_photo_pixels")

        default_image_count = d.pop("default_image_count")

        max_image_count = d.pop("max_image_count")

        max_prompt_length = d.pop("max_prompt_length")

        max_metadata = d.pop("max_metadata")

        models = cast(list[str], d.pop("models"))


        takes_seed = d.pop("takes_seed")

        callback_hosts = cast(list[str], d.pop("callback_hosts"))


        max_retries = d.pop("max_retries")

        def _parse_daily_pictures(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        daily_pictures = _parse_daily_pictures(d.pop("daily_pictures"))


        def _parse_max_active_jobs(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        max_active_jobs = _parse_max_active_jobs(d.pop("max_active_jobs"))


        upload_url_seconds = d.pop("upload_url_seconds")

        download_url_seconds = d.pop("download_url_seconds")

        deadline_seconds = d.pop("deadline_seconds")

        retention_days = d.pop("retention_days")

        limits_view = cls(
            photo_types=photo_types,
            max_upload_bytes=max_upload_bytes,
            max_photo_pixels=max_photo_pixels,
            default_image_count=default_image_count,
            max_image_count=max_image_count,
            max_prompt_length=max_prompt_length,
            max_metadata=max_metadata,
            models=models,
            takes_seed=takes_seed,
            callback_hosts=callback_hosts,
            max_retries=max_retries,
            daily_pictures=daily_pictures,
            max_active_jobs=max_active_jobs,
            upload_url_seconds=upload_url_seconds,
            download_url_seconds=download_url_seconds,
            deadline_seconds=deadline_seconds,
            retention_days=retention_days,
        )


        limits_view.additional_properties = d
        return limits_view

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
