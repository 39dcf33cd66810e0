from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, BinaryIO, TextIO, TYPE_CHECKING, Generator

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

from ..models.photo_type import PhotoType
from ..types import UNSET, Unset
from typing import cast
from uuid import UUID

if TYPE_CHECKING:
  from ..models.create_job_metadata import CreateJobMetadata
  from ..models.ordered_image import OrderedImage





T = TypeVar("T", bound="CreateJob")



@_attrs_define
class CreateJob:
    """ What to make of a photo. Either `content_type` and `content_length` announce an upload, or `photo_of` names a job.

        Attributes:
            content_type (PhotoType | Unset): The media type of a photo.
            content_length (int | Unset): The photo's size in bytes.
            checksum_sha256 (str | Unset): The photo's SHA-256 in base64. If given, S3 checks the upload against it.
            photo_of (UUID | Unset): Use the photo of this job of yours: nothing is uploaded.
            prompt (str | Unset): What the model should make of the photo. It comes after the style's prompt.
            style (str | Unset): The id of a style, from `GET /api/v1/styles`.
            image_count (int | Unset): How many images to make, if not the stack's number.
            images (list[OrderedImage] | Unset): One entry for each image, in order.
            model (str | Unset): One of the models of `GET /api/v1/limits`.
            callback_url (str | Unset): Is posted to when the job ends. Its host must be one of `callback_hosts` of `GET
                /api/v1/limits`.
            metadata (CreateJobMetadata | Unset): Your own short texts. They are returned with the job, and stand in its
                event.
     """

    content_type: PhotoType | Unset = UNSET
    content_length: int | Unset = UNSET
    checksum_sha256: str | Unset = UNSET
    photo_of: UUID | Unset = UNSET
    prompt: str | Unset = UNSET
    style: str | Unset = UNSET
    image_count: int | Unset = UNSET
    images: list[OrderedImage] | Unset = UNSET
    model: str | Unset = UNSET
    callback_url: str | Unset = UNSET
    metadata: CreateJobMetadata | Unset = UNSET





    def to_dict(self) -> dict[str, Any]:
        from ..models.create_job_metadata import CreateJobMetadata # noqa: PLC0415
        from ..models.ordered_image import OrderedImage # noqa: PLC0415
        content_type: str | Unset = UNSET
        if not isinstance(self.content_type, Unset):
            content_type = self.content_type.value


        content_length = self.content_length

        checksum_sha256 = self.checksum_sha256

        photo_of: str | Unset = UNSET
        if not isinstance(self.photo_of, Unset):
            photo_of = str(self.photo_of)

        prompt = self.prompt

        style = self.style

        image_count = self.image_count

        images: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.images, Unset):
            images = []
            for images_item_data in self.images:
                images_item = images_item_data.to_dict()
                images.append(images_item)



        model = self.model

        callback_url = self.callback_url

        metadata: dict[str, Any] | Unset = UNSET
        if not isinstance(self.metadata, Unset):
            metadata = self.metadata.to_dict()


        field_dict: dict[str, Any] = {}

        field_dict.update({
        })
        if content_type is not UNSET:
            field_dict["content_type"] = content_type
        if content_length is not UNSET:
            field_dict["content_length"] = content_length
        if checksum_sha256 is not UNSET:
            field_dict["checksum_sha256"] = checksum_sha256
        if photo_of is not UNSET:
            field_dict["photo_of"] = photo_of
        if prompt is not UNSET:
            field_dict["prompt"] = prompt
        if style is not UNSET:
            field_dict["style"] = style
        if image_count is not UNSET:
            field_dict["image_count"] = image_count
        if images is not UNSET:
            field_dict["images"] = images
        if model is not UNSET:
            field_dict["model"] = model
        if callback_url is not UNSET:
            field_dict["callback_url"] = callback_url
        if metadata is not UNSET:
            field_dict["metadata"] = metadata

        return field_dict



    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.create_job_metadata import CreateJobMetadata # noqa: PLC0415
        from ..models.ordered_image import OrderedImage # noqa: PLC0415
        d = dict(src_dict)
        _content_type = d.pop("content_type", UNSET)
        content_type: PhotoType | Unset
        if isinstance(_content_type,  Unset):
            content_type = UNSET
        else:
            content_type = PhotoType(_content_type)




        content_length = d.pop("content_length", UNSET)

        checksum_sha256 = d.pop("checksum_sha256", UNSET)

        _photo_of = d.pop("photo_of", UNSET)
        photo_of: UUID | Unset
        if isinstance(_photo_of,  Unset):
            photo_of = UNSET
        else:
            photo_of = UUID(_photo_of)




        prompt = d.pop("prompt", UNSET)

        style = d.pop("style", UNSET)

        image_count = d.pop("image_count", UNSET)

        _images = d.pop("images", UNSET)
        images: list[OrderedImage] | Unset = UNSET
        if _images is not UNSET:
            images = []
            for images_item_data in _images:
                images_item = OrderedImage.from_dict(images_item_data)



                images.append(images_item)


        model = d.pop("model", UNSET)

        callback_url = d.pop("callback_url", UNSET)

        _metadata = d.pop("metadata", UNSET)
        metadata: CreateJobMetadata | Unset
        if isinstance(_metadata,  Unset):
            metadata = UNSET
        else:
            metadata = CreateJobMetadata.from_dict(_metadata)




        create_job = cls(
            content_type=content_type,
            content_length=content_length,
            checksum_sha256=checksum_sha256,
            photo_of=photo_of,
            prompt=prompt,
            style=style,
            image_count=image_count,
            images=images,
            model=model,
            callback_url=callback_url,
            metadata=metadata,
        )

        return create_job

