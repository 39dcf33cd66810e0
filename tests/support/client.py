"""A client of the API and of presigned URLs. It uses only HTTP, as any program can."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

JOBS = "/api/v1/jobs"
TERMINAL = {"SUCCEEDED", "PARTIAL", "FAILED", "CANCELED", "EXPIRED"}


class Client(ABC):
    """Requests to a running stack, local or deployed."""

    http: httpx.Client
    photo: bytes  # a JPEG

    @property
    @abstractmethod
    def api(self) -> str:
        """The base URL of the API."""

    @property
    @abstractmethod
    def tokens(self) -> Sequence[str]:
        """A bearer token for each user."""

    def request(self, method: str, path: str, *, user: int = 0, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.tokens[user]}", **options.pop("headers", {})}
        return self.http.request(method, self.api + path, headers=headers, **options)

    def create(self, *, user: int = 0, **fields: object) -> dict[str, Any]:
        body = {"content_type": "image/jpeg", "content_length": len(self.photo), **fields}
        answer = self.request("POST", JOBS, user=user, json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def upload(self, created: Mapping[str, Any]) -> httpx.Response:
        upload = created["upload"]
        return self.http.request(
            upload["method"], upload["url"], headers=upload["headers"], content=self.photo
        )

    def start(self, *, user: int = 0, **fields: object) -> str:
        """Create a job and upload its photo; return its id."""
        created = self.create(user=user, **fields)
        assert self.upload(created).status_code == 200
        return str(created["job_id"])

    def job(self, job_id: str, *, user: int = 0) -> dict[str, Any]:
        answer = self.request("GET", f"{JOBS}/{job_id}", user=user)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def end_of(self, job_id: str, *, user: int = 0, within: float = 90, every: float = 0.2) -> dict[str, Any]:
        """Wait for the job's end and return the job."""
        give_up_at = time.monotonic() + within
        while (job := self.job(job_id, user=user))["status"] not in TERMINAL:
            assert time.monotonic() < give_up_at, self.unfinished(job)
            time.sleep(every)  # there is no event to wait for
        return job

    def unfinished(self, job: Mapping[str, Any]) -> str:
        """Return what to say about a job that has not ended in time."""
        states = ", ".join(image["status"] for image in job["images"])
        return f"Job {job['job_id']} is still {job['status']}: {states}."

    def pictures(self, job: Mapping[str, Any]) -> list[bytes]:
        return [
            self.http.get(image["url"]).raise_for_status().content for image in job["images"] if image["url"]
        ]
