"""The local cloud's command: run one job as a client would, or serve until stopped."""

from __future__ import annotations

import io
import json
import mimetypes
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import NoReturn

import httpx
import PIL.Image
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ValidationError

from tests.localcloud import aws, sample, template
from tests.localcloud.cloud import Cloud, local_cloud
from tests.localcloud.progress import Progress

OUT = Path("out")
POLL_SECONDS = 0.3  # if the API sends no Retry-After
LONGEST_POLL_SECONDS = 1.0  # less than Retry-After says: the API has no other client
ENDED = frozenset({"SUCCEEDED", "PARTIAL", "FAILED", "CANCELED", "EXPIRED"})
HEIC_BRANDS = frozenset({b"heic", b"heix", b"mif1"})  # Pillow cannot open them without a plug-in


class NotAPhotoError(Exception):
    """PHOTO cannot be read, or Triptych does not accept it."""


class Upload(BaseModel):
    method: str
    url: str
    headers: dict[str, str]


class Created(BaseModel):
    job_id: str
    upload: Upload


class Failure(BaseModel):
    message: str


class Refusal(BaseModel):
    error: Failure


class Image(BaseModel):
    index: int
    status: str
    url: str | None
    content_type: str | None
    error: Failure | None


class Job(BaseModel):
    status: str
    images: list[Image]
    error: Failure | None


def run(
    what: str | None,
    *,
    overrides: Iterable[str],
    replicate_url: str | None,
    workers: int,
    port: int,
    as_json: bool,
    moto: Future[aws.Aws],
) -> int:
    """Run the command and return its exit code: 0 on success, 1 on a failure, 2 if the file is not a photo.

    Args:
        what: The path of a photo, None for the sample, or "serve", which runs until a signal.
        overrides: Template parameters, as `sam deploy --parameter-overrides` takes them.
        replicate_url: A server that speaks Replicate's API, instead of the stand-in.
        workers: Processes of each function, at most.
        port: The API's port; 0 takes a free one.
        as_json: With "serve": print one line of JSON for programs.
        moto: The AWS server that is starting for this command.
    """
    try:
        photo = None if what == "serve" else _read_photo(what)
        with local_cloud(
            template.read_overrides(tuple(overrides)),
            replicate_url=replicate_url,
            workers=workers,
            port=port,
            moto=moto,
        ) as cloud:
            if photo is None:
                _serve(cloud, as_json=as_json)
            return _run_job(cloud, *photo)
    except NotAPhotoError as error:
        _complain(str(error))
        return 2
    except subprocess.CalledProcessError as error:
        _complain(f"{Path(error.cmd[0]).name} failed with exit code {error.returncode}")
    except (BotoCoreError, ClientError, httpx.HTTPError) as error:
        _complain(f"{type(error).__name__}: {error}")
    except (template.TemplateError, OSError, RuntimeError, ValidationError) as error:
        _complain(str(error))
    return 1


def _complain(sentence: str) -> None:
    sys.stderr.write(f"triptych: {' '.join(sentence.split())}\n")


def _say(line: object) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _serve(cloud: Cloud, *, as_json: bool) -> NoReturn:
    with tempfile.TemporaryDirectory(prefix="triptych-") as folder:
        if as_json:
            _say(json.dumps(cloud.description()))
        else:
            photo = Path(folder, "sample.jpg")
            photo.write_bytes(sample.photo())
            _say(_instructions(cloud, photo))
        raise RuntimeError(f"{cloud.wait_until_a_server_ends()} has ended")  # a signal ends the wait too


def _instructions(cloud: Cloud, photo: Path) -> str:
    """Return lines to paste into bash or zsh. They hold no comment, because zsh does not accept pasted comments."""
    token = cloud.tokens[0] if cloud.tokens else "YOUR_TOKEN"
    issuer = "" if cloud.tokens else "Replace YOUR_TOKEN with a token of your issuer.\n"
    page = ""
    if cloud.stack.parameters["ServePage"] == "true":
        # A browser does not send the part after #, so the token reaches no log.
        page = f"The page is at {cloud.api}/{f'#token={token}' if cloud.tokens else ''}\n"
    return f"""\
{page}The API is at {cloud.api}
The functions' log is {cloud.log}
Press Ctrl-C to stop. To make three pictures of a photo, paste these lines. PHOTO may be any JPEG.
{issuer}
API={cloud.api}
TOKEN={token}
PHOTO={shlex.quote(str(photo))}

JOB=$(curl -sS "$API/api/v1/jobs" -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
  -d '{{"content_type": "image/jpeg", "content_length": '$(($(wc -c < "$PHOTO")))'}}'); printf '%s\\n' "$JOB"
ID=$(printf '%s\\n' "$JOB" | sed -E 's/.*"job_id": ?"([^"]*)".*/\\1/')
URL=$(printf '%s\\n' "$JOB" | sed -E 's/.*"url": ?"([^"]*)".*/\\1/')
printf '%s\\n' "$JOB" | sed -E 's/.*"headers": ?\\{{([^}}]*)\\}}.*/\\1/' | tr ',' '\\n' | \\
  sed -E 's/^ *"(.*)": ?"(.*)"$/header = "\\1: \\2"/' | curl -sS -K - -T "$PHOTO" "$URL"

Repeat this line until it says SUCCEEDED:

curl -sS "$API/api/v1/jobs/$ID" -H "Authorization: Bearer $TOKEN"; echo
"""


def _read_photo(name: str | None) -> tuple[str, bytes, str]:
    """Return the photo's stem, bytes and content type."""
    if name is None:
        return "sample", sample.photo(), "image/jpeg"
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise NotAPhotoError(f"cannot read {name}: {error.strerror}") from error
    kind = _content_type(data)
    if kind is None:
        raise NotAPhotoError(f"{name} is not a photo")
    return Path(name).stem, data, kind


def _content_type(data: bytes) -> str | None:
    """Return the content type of the bytes; None if they are no image."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        return "image/heic"
    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            kind = image.get_format_mimetype()
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        return None
    return "image/jpeg" if kind == "image/mpo" else kind  # MPO is a JPEG with more images after it


def _run_job(cloud: Cloud, stem: str, data: bytes, content_type: str) -> int:
    """Create a job, upload, poll and download, as a client does; return the exit code."""
    if not cloud.tokens:
        raise RuntimeError("JwtIssuer is set, so no user exists here. Use serve, with a token of that issuer")
    headers = {"authorization": f"Bearer {cloud.tokens[0]}"}
    with httpx.Client(base_url=cloud.api, headers=headers, timeout=35, trust_env=False) as client:
        created = _create(client, content_type, len(data))
        _upload(created.upload, data)
        job = _follow(client, created.job_id)
    for image in job.images:
        if image.url is not None:
            _say(_download(image, image.url, stem))
    if job.status == "SUCCEEDED":
        return 0
    _complain(job.error.message if job.error else f"the job ended as {job.status}")
    for image in job.images:
        if image.error is not None:
            _complain(f"image {image.index}: {image.error.message}")
    return 1


def _create(client: httpx.Client, content_type: str, length: int) -> Created:
    response = client.post("/api/v1/jobs", json={"content_type": content_type, "content_length": length})
    if response.status_code in {400, 413, 415, 422}:
        raise NotAPhotoError(Refusal.model_validate_json(response.content).error.message)
    if response.is_error:
        raise RuntimeError(f"creating a job: the API answered {response.status_code}: {response.text}")
    return Created.model_validate_json(response.content)


def _upload(upload: Upload, data: bytes) -> None:
    response = httpx.request(
        upload.method, upload.url, content=data, headers=upload.headers, timeout=60, trust_env=False
    )
    if response.is_error:
        raise RuntimeError(f"uploading the photo: S3 answered {response.status_code}: {response.text}")


def _follow(client: httpx.Client, job_id: str) -> Job:
    progress = Progress(sys.stdout)
    while True:
        response = client.get(f"/api/v1/jobs/{job_id}")
        if response.is_error:
            raise RuntimeError(f"reading the job: the API answered {response.status_code}: {response.text}")
        job = Job.model_validate_json(response.content)
        progress.update({image.index: image.status for image in job.images})
        if job.status in ENDED:
            return job
        progress.wait(min(float(response.headers.get("retry-after", POLL_SECONDS)), LONGEST_POLL_SECONDS))


def _download(image: Image, url: str, stem: str) -> Path:
    extension = mimetypes.guess_extension(image.content_type or "") or ".bin"
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{stem}-{image.index}{extension}"
    path.write_bytes(httpx.get(url, timeout=60, trust_env=False).raise_for_status().content)
    return path
