from enum import StrEnum

class RequestErrorViewCode(StrEnum):
    BAD_CURSOR = "bad_cursor"
    DAILY_LIMIT_REACHED = "daily_limit_reached"
    IDEMPOTENCY_KEY_USED = "idempotency_key_used"
    INTERNAL_ERROR = "internal_error"
    INVALID_REQUEST = "invalid_request"
    JOB_NOT_FOUND = "job_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    MISCONFIGURED = "misconfigured"
    NOTHING_TO_RETRY = "nothing_to_retry"
    NOT_JSON = "not_json"
    NO_OWNER = "no_owner"
    PHOTO_GONE = "photo_gone"
    PHOTO_TOO_LARGE = "photo_too_large"
    PHOTO_UNSUPPORTED = "photo_unsupported"
    RETRY_LIMIT_REACHED = "retry_limit_reached"
    ROUTE_NOT_FOUND = "route_not_found"
    STACK_LIMIT_REACHED = "stack_limit_reached"
    TOO_MANY_ACTIVE_JOBS = "too_many_active_jobs"
    TOO_MANY_AT_ONCE = "too_many_at_once"
    WEBHOOK_PUT_OFF = "webhook_put_off"
    WEBHOOK_REJECTED = "webhook_rejected"

    def __str__(self) -> str:
        return str(self.value)
