from enum import StrEnum

class ImageStatus(StrEnum):
    CANCELED = "CANCELED"
    FAILED = "FAILED"
    GENERATING = "GENERATING"
    PENDING = "PENDING"
    REQUESTING = "REQUESTING"
    STORED = "STORED"

    def __str__(self) -> str:
        return str(self.value)
