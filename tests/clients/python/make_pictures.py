import time

import httpx

from triptych_client import AuthenticatedClient
from triptych_client.api.jobs import create_job, get_job
from triptych_client.models import CreateJob, JobCreated, JobView, PhotoType


def make_pictures(photo: bytes, api: str, token: str) -> list[str]:
    client = AuthenticatedClient(base_url=api, token=token, timeout=httpx.Timeout(30))
    order = CreateJob(content_type=PhotoType.IMAGEJPEG, content_length=len(photo))
    job: object = create_job.sync(client=client, body=order)
    if isinstance(job, JobCreated) and (upload := job.upload):
        httpx.put(upload.url, headers=upload.headers.to_dict(), content=photo).raise_for_status()
        while isinstance(job := get_job.sync(job.job_id, client=client), JobView):
            if job.ended_at:
                return [image.url for image in job.images if image.url]
            time.sleep(2)
    raise RuntimeError(job)  # an ErrorResponse has a code and a message
