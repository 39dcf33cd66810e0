"""What the local cloud's command does: one photo as a client would send it, or staying up for others."""

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
POLL_SECONDS = 0.3  # where the API does not say when to come back
PATIENCE_SECONDS = 1.0  # it has no other caller, so nobody minds coming back sooner than it says
ENDED = frozenset({"SUCCEEDED", "PARTIAL", "FAILED", "CANCELED", "EXPIRED"})
HEIC_BRANDS = frozenset({b"heic", b"heix", b"mif1"})  # which Pillow alone does not open


class NotAPhotoError(Exception):
    """PHOTO cannot be read, or is nothing that Triptych takes."""


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
    """Do it, and return the exit code: 0, 1 where something failed, 2 where the photo is none.

    Args:
        what: a photo's path, None for a sample, or "serve", which only a signal ends.
        overrides: as `sam deploy --parameter-overrides` takes them.
        replicate_url: a server that speaks Replicate's API, instead of the stand-in.
        workers: for each function, at most.
        port: of the API; 0 is any free one.
        as_json: serve for a program.
        moto: the AWS server that is being started for this.
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
            return _make_pictures(cloud, *photo)
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
        raise RuntimeError(f"{cloud.wait_until_a_server_ends()} has ended")  # or a signal ends the wait


def _instructions(cloud: Cloud, photo: Path) -> str:
    """What to paste, for bash and for zsh, which takes no comment in what is pasted; neither does this."""
    token = cloud.tokens[0] if cloud.tokens else "YOUR_TOKEN"
    issuer = "" if cloud.tokens else "In the place of YOUR_TOKEN, put a token of your issuer.\n"
    page = ""
    if cloud.stack.parameters["ServePage"] == "true":
        # Behind the #: a browser keeps that to itself, so that the token gets into no log.
        page = f"The page is at {cloud.api}/{f'#token={token}' if cloud.tokens else ''}\n"
    return f"""\
{page}The API is at {cloud.api}
The functions' log is {cloud.log}
Ctrl-C ends it. To make three pictures of a photo, paste these lines. PHOTO may be any JPEG.
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
    """The photo's stem, its bytes and its content type."""
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
    """What the bytes are; None where they are no picture."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        return "image/heic"
    try:
        with PIL.Image.open(io.BytesIO(data)) as picture:
            kind = picture.get_format_mimetype()
    except (OSError, ValueError, PIL.Image.DecompressionBombError):
        return None
    return "image/jpeg" if kind == "image/mpo" else kind  # a JPEG with further pictures behind it


def _make_pictures(cloud: Cloud, stem: str, data: bytes, content_type: str) -> int:
    """Do what a client does: create, upload, poll, download."""
    if not cloud.tokens:
        raise RuntimeError("with JwtIssuer there is no user here: use serve, and a token of that issuer")
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
        raise RuntimeError(f"the API answered {response.status_code} to a new job: {response.text}")
    return Created.model_validate_json(response.content)


def _upload(upload: Upload, data: bytes) -> None:
    response = httpx.request(
        upload.method, upload.url, content=data, headers=upload.headers, timeout=60, trust_env=False
    )
    if response.is_error:
        raise RuntimeError(f"S3 answered {response.status_code} to the upload: {response.text}")


def _follow(client: httpx.Client, job_id: str) -> Job:
    progress = Progress(sys.stdout)
    while True:
        response = client.get(f"/api/v1/jobs/{job_id}")
        if response.is_error:
            raise RuntimeError(
                f"the API answered {response.status_code} to a look at the job: {response.text}"
            )
        job = Job.model_validate_json(response.content)
        progress.update({image.index: image.status for image in job.images})
        if job.status in ENDED:
            return job
        progress.wait(min(float(response.headers.get("retry-after", POLL_SECONDS)), PATIENCE_SECONDS))


def _download(image: Image, url: str, stem: str) -> Path:
    extension = mimetypes.guess_extension(image.content_type or "") or ".bin"
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{stem}-{image.index}{extension}"
    path.write_bytes(httpx.get(url, timeout=60, trust_env=False).raise_for_status().content)
    return path
