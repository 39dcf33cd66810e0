from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.error_response import ErrorResponse
from ...models.job_list import JobList
from ...models.job_status import JobStatus
from ...models.list_jobs_metadata import ListJobsMetadata
from ...models.refusal import Refusal
from ...types import UNSET, Unset
from typing import cast



def _get_kwargs(
    *,
    limit: int | Unset = 20,
    cursor: str | Unset = UNSET,
    status: JobStatus | Unset = UNSET,
    metadata: ListJobsMetadata | Unset = UNSET,

) -> dict[str, Any]:
    

    

    params: dict[str, Any] = {}

    params["limit"] = limit

    params["cursor"] = cursor

    json_status: str | Unset = UNSET
    if not isinstance(status, Unset):
        json_status = status.value

    params["status"] = json_status

    json_metadata: dict[str, Any] | Unset = UNSET
    if not isinstance(metadata, Unset):
        json_metadata = metadata.to_dict()
    if not isinstance(json_metadata, Unset):
        params.update(json_metadata)



    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}


    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/jobs",
        "params": params,
    }


    return _kwargs



def _parse_response(*, client: AuthenticatedClient | Client, response: httpx.Response) -> ErrorResponse | ErrorResponse | Refusal | JobList | Refusal | None:
    if response.status_code == 200:
        response_200 = JobList.from_dict(response.json())



        return response_200

    if response.status_code == 400:
        response_400 = ErrorResponse.from_dict(response.json())



        return response_400

    if response.status_code == 401:
        response_401 = Refusal.from_dict(response.json())



        return response_401

    if response.status_code == 403:
        response_403 = ErrorResponse.from_dict(response.json())



        return response_403

    if response.status_code == 429:
        def _parse_response_429(data: object) -> ErrorResponse | Refusal:
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                response_429_type_0 = ErrorResponse.from_dict(data)



                return response_429_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            response_429_type_1 = Refusal.from_dict(data)



            return response_429_type_1

        response_429 = _parse_response_429(response.json())

        return response_429

    if response.status_code == 500:
        def _parse_response_500(data: object) -> ErrorResponse | Refusal:
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                response_500_type_0 = ErrorResponse.from_dict(data)



                return response_500_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            response_500_type_1 = Refusal.from_dict(data)



            return response_500_type_1

        response_500 = _parse_response_500(response.json())

        return response_500

    if response.status_code == 503:
        def _parse_response_503(data: object) -> ErrorResponse | Refusal:
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                response_503_type_0 = ErrorResponse.from_dict(data)



                return response_503_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            response_503_type_1 = Refusal.from_dict(data)



            return response_503_type_1

        response_503 = _parse_response_503(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(*, client: AuthenticatedClient | Client, response: httpx.Response) -> Response[ErrorResponse | ErrorResponse | Refusal | JobList | Refusal]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    limit: int | Unset = 20,
    cursor: str | Unset = UNSET,
    status: JobStatus | Unset = UNSET,
    metadata: ListJobsMetadata | Unset = UNSET,

) -> Response[ErrorResponse | ErrorResponse | Refusal | JobList | Refusal]:
    """ List jobs

     Returns your own jobs, newest first. In a list, `url` and `download_url` are null, and `preview_url`
    is not. A new job may be absent, and a deleted one present, for a second or so.
    `metadata.NAME=VALUE` returns only jobs with this entry. A page may have fewer jobs than `limit`,
    and a filtered one may be empty: only the last page has no cursor.

    Args:
        limit (int | Unset): Largest number of jobs on a page. Default: 20.
        cursor (str | Unset): The cursor of the previous page. Leave it out for the first page.
        status (JobStatus | Unset):
        metadata (ListJobsMetadata | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ErrorResponse | ErrorResponse | Refusal | JobList | Refusal]
     """


    kwargs = _get_kwargs(
        limit=limit,
cursor=cursor,
status=status,
metadata=metadata,

    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)

def sync(
    *,
    client: AuthenticatedClient | Client,
    limit: int | Unset = 20,
    cursor: str | Unset = UNSET,
    status: JobStatus | Unset = UNSET,
    metadata: ListJobsMetadata | Unset = UNSET,

) -> ErrorResponse | ErrorResponse | Refusal | JobList | Refusal | None:
    """ List jobs

     Returns your own jobs, newest first. In a list, `url` and `download_url` are null, and `preview_url`
    is not. A new job may be absent, and a deleted one present, for a second or so.
    `metadata.NAME=VALUE` returns only jobs with this entry. A page may have fewer jobs than `limit`,
    and a filtered one may be empty: only the last page has no cursor.

    Args:
        limit (int | Unset): Largest number of jobs on a page. Default: 20.
        cursor (str | Unset): The cursor of the previous page. Leave it out for the first page.
        status (JobStatus | Unset):
        metadata (ListJobsMetadata | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ErrorResponse | ErrorResponse | Refusal | JobList | Refusal
     """


    return sync_detailed(
        client=client,
limit=limit,
cursor=cursor,
status=status,
metadata=metadata,

    ).parsed

async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    limit: int | Unset = 20,
    cursor: str | Unset = UNSET,
    status: JobStatus | Unset = UNSET,
    metadata: ListJobsMetadata | Unset = UNSET,

) -> Response[ErrorResponse | ErrorResponse | Refusal | JobList | Refusal]:
    """ List jobs

     Returns your own jobs, newest first. In a list, `url` and `download_url` are null, and `preview_url`
    is not. A new job may be absent, and a deleted one present, for a second or so.
    `metadata.NAME=VALUE` returns only jobs with this entry. A page may have fewer jobs than `limit`,
    and a filtered one may be empty: only the last page has no cursor.

    Args:
        limit (int | Unset): Largest number of jobs on a page. Default: 20.
        cursor (str | Unset): The cursor of the previous page. Leave it out for the first page.
        status (JobStatus | Unset):
        metadata (ListJobsMetadata | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ErrorResponse | ErrorResponse | Refusal | JobList | Refusal]
     """


    kwargs = _get_kwargs(
        limit=limit,
cursor=cursor,
status=status,
metadata=metadata,

    )

    response = await client.get_async_httpx_client().request(
        **kwargs
    )

    return _build_response(client=client, response=response)

async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    limit: int | Unset = 20,
    cursor: str | Unset = UNSET,
    status: JobStatus | Unset = UNSET,
    metadata: ListJobsMetadata | Unset = UNSET,

) -> ErrorResponse | ErrorResponse | Refusal | JobList | Refusal | None:
    """ List jobs

     Returns your own jobs, newest first. In a list, `url` and `download_url` are null, and `preview_url`
    is not. A new job may be absent, and a deleted one present, for a second or so.
    `metadata.NAME=VALUE` returns only jobs with this entry. A page may have fewer jobs than `limit`,
    and a filtered one may be empty: only the last page has no cursor.

    Args:
        limit (int | Unset): Largest number of jobs on a page. Default: 20.
        cursor (str | Unset): The cursor of the previous page. Leave it out for the first page.
        status (JobStatus | Unset):
        metadata (ListJobsMetadata | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ErrorResponse | ErrorResponse | Refusal | JobList | Refusal
     """


    return (await asyncio_detailed(
        client=client,
limit=limit,
cursor=cursor,
status=status,
metadata=metadata,

    )).parsed
