from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from typing import cast
import datetime






T = TypeVar("T", bound="UsageView")



@_attrs_define
class UsageView:
    """ Pictures that you have ordered. Days and months are those of the stack's time zone.

        Attributes:
            pictures_today (int):
            pictures_this_month (int):
            daily_pictures (int | None): The most pictures that you may order in a day. Null: no limit.
            day_ends_at (datetime.datetime): When the next day begins.
            active_jobs (int): Your unfinished jobs. 0 if their number has no limit: then nobody counts.
            max_active_jobs (int | None): The most unfinished jobs that you may have. Null: no limit.
     """

    pictures_today: int
    pictures_this_month: int
    daily_pictures: int | None
    day_ends_at: datetime.datetime
    active_jobs: int
    max_active_jobs: int | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)





    def to_dict(self) -> dict[str, Any]:
        pictures_today = self.pictures_today

        pictures_this_month = self.pictures_this_month

        daily_pictures: int | None
        daily_pictures = self.daily_pictures

        day_ends_at = self.day_ends_at.isoformat()

        active_jobs = self.active_jobs

        max_active_jobs: int | None
        max_active_jobs = self.max_active_jobs


        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({
            "pictures_today": pictures_today,
            "pictures_this_month": pictures_this_month,
            "daily_pictures": daily_pictures,
            "day_ends_at": day_ends_at,
            "active_jobs": active_jobs,
            "max_active_jobs": max_active_jobs,
        })

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        pictures_today = d.pop("pictures_today")

        pictures_this_month = d.pop("pictures_this_month")

        def _parse_daily_pictures(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        daily_pictures = _parse_daily_pictures(d.pop("daily_pictures"))


        day_ends_at = datetime.datetime.fromisoformat(d.pop("day_ends_at"))




        active_jobs = d.pop("active_jobs")

        def _parse_max_active_jobs(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        max_active_jobs = _parse_max_active_jobs(d.pop("max_active_jobs"))


        usage_view = cls(
            pictures_today=pictures_today,
            pictures_this_month=pictures_this_month,
            daily_pictures=daily_pictures,
            day_ends_at=day_ends_at,
            active_jobs=active_jobs,
            max_active_jobs=max_active_jobs,
        )


        usage_view.additional_properties = d
        return usage_view

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
