from enum import StrEnum

class JobStatus(StrEnum):
    AWAITING_UPLOAD = "AWAITING_UPLOAD"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    GENERATING = "GENERATING"
    PARTIAL = "PARTIAL"
    SUCCEEDED = "SUCCEEDED"

    def __str__(self) -> str:
        return str(self.value)
