from enum import StrEnum

class PhotoType(StrEnum):
    IMAGEHEIC = "image/heic"
    IMAGEHEIF = "image/heif"
    IMAGEJPEG = "image/jpeg"
    IMAGEPNG = "image/png"
    IMAGEWEBP = "image/webp"

    def __str__(self) -> str:
        return str(self.value)
