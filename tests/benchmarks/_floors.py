"""For each function, the least that a plain function with the same packages does: the floor of its cold start.

It imports the packages that the function is made of, makes the clients that the first answer needs, and answers. It
sends no request, opens no image, and has no rules, settings or models of its own.
"""

from __future__ import annotations

BARE = """
def handler(event, context):
    return {}
"""
# As in the layer, nothing is collected while the packages are imported.
_BOTO3_AND_POWERTOOLS = """
import gc
gc.disable()
import boto3
from aws_lambda_powertools import Logger, Metrics
session = boto3.Session()
logger = Logger()
metrics = Metrics(namespace="floor", service="floor")
metrics.set_default_dimensions(stack="floor")
"""
_HANDLER = """
gc.freeze()
gc.enable()
@logger.inject_lambda_context
@metrics.log_metrics
def handler(event, context):
    return {}
"""
_BATCH = """
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
processor = BatchProcessor(event_type=EventType.SQS)
"""
_ROUTER = """
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
app = APIGatewayHttpResolver(enable_validation=True)
"""
_PYDANTIC = """
from pydantic import BaseModel
class Message(BaseModel):
    job_id: str
"""
# PynamoDB would make a session of its own.
_PYNAMODB = """
import pynamodb.connection.base
from pynamodb.attributes import UnicodeAttribute
from pynamodb.models import Model
pynamodb.connection.base.get_session = lambda *_: session._session
class Job(Model):
    class Meta:
        table_name = "jobs"
    job_id = UnicodeAttribute(hash_key=True)
Job._get_connection().connection.client
"""
_S3, _SQS, _EVENTS = (f'session.client("{name}")\n' for name in ("s3", "sqs", "events"))
_TOKEN = """
from aws_lambda_powertools.utilities.parameters import SSMProvider
SSMProvider(boto3_session=session)
"""
_SECRET = """
from aws_lambda_powertools.utilities.parameters import SecretsProvider
SecretsProvider(boto3_session=session)
"""
_HTTPX = """
import httpx
httpx.Client(transport=httpx.HTTPTransport())
"""
_REPLICATE = """
import httpx
from replicate.client import Client
Client(api_token="r8", transport=httpx.HTTPTransport())
"""
_PILLOW = """
from PIL import Image, WebPImagePlugin
Image.preinit()
"""


def _of(*parts: str) -> str:
    return "".join((_BOTO3_AND_POWERTOOLS, *parts, _HANDLER))


FLOORS = {
    "announce": _of(_BATCH, _PYDANTIC, _PYNAMODB, _EVENTS),
    "api": _of(_ROUTER, _PYDANTIC, _PYNAMODB, _S3),
    "callback": _of(_BATCH, _PYDANTIC, _SECRET, _HTTPX),
    "generate": _of(_BATCH, _PYDANTIC, _PYNAMODB, _S3, _TOKEN, _REPLICATE, _PILLOW),
    "page": BARE,
    "watchdog": _of(_BATCH, _PYDANTIC, _PYNAMODB, _SQS),
    "webhook": _of(_PYDANTIC, _PYNAMODB, _S3, _TOKEN, _REPLICATE, _PILLOW),
}
