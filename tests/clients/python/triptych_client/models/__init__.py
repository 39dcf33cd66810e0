""" Contains all the data models used in inputs/outputs """

from .create_job import CreateJob
from .create_job_metadata import CreateJobMetadata
from .ended_error import EndedError
from .ended_error_code import EndedErrorCode
from .ended_image import EndedImage
from .error_response import ErrorResponse
from .error_view import ErrorView
from .error_view_code import ErrorViewCode
from .image_status import ImageStatus
from .image_view import ImageView
from .job_created import JobCreated
from .job_ended import JobEnded
from .job_ended_metadata import JobEndedMetadata
from .job_list import JobList
from .job_status import JobStatus
from .job_view import JobView
from .job_view_metadata import JobViewMetadata
from .limits_view import LimitsView
from .list_jobs_metadata import ListJobsMetadata
from .ordered_image import OrderedImage
from .photo_type import PhotoType
from .photo_view import PhotoView
from .progress import Progress
from .refusal import Refusal
from .request_error_view import RequestErrorView
from .request_error_view_code import RequestErrorViewCode
from .style_list import StyleList
from .style_view import StyleView
from .upload import Upload
from .upload_headers import UploadHeaders
from .usage_view import UsageView
from .webhook_secret import WebhookSecret

__all__ = (
    "CreateJob",
    "CreateJobMetadata",
    "EndedError",
    "EndedErrorCode",
    "EndedImage",
    "ErrorResponse",
    "ErrorView",
    "ErrorViewCode",
    "ImageStatus",
    "ImageView",
    "JobCreated",
    "JobEnded",
    "JobEndedMetadata",
    "JobList",
    "JobStatus",
    "JobView",
    "JobViewMetadata",
    "LimitsView",
    "ListJobsMetadata",
    "OrderedImage",
    "PhotoType",
    "PhotoView",
    "Progress",
    "Refusal",
    "RequestErrorView",
    "RequestErrorViewCode",
    "StyleList",
    "StyleView",
    "Upload",
    "UploadHeaders",
    "UsageView",
    "WebhookSecret",
)
