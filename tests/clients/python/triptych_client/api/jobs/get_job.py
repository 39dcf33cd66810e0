from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.error_response import ErrorResponse
from ...models.job_view import JobView
from ...models.refusal import Refusal
from ...types import UNSET, Unset
from typing import cast
from uuid import UUID



def _get_kwargs(
    job_id: UUID,
    *,
    wait: int | Unset = 0,
    if_none_match: str | Unset = UNSET,

) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(if_none_match, Unset):
        headers["if-none-match"] = if_none_match



    

    params: dict[str, Any] = {}

    params["wait"] = wait


    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}


    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/jobs/{job_id}".format(job_id=quote(str(job_id), safe=""),),
        "params": params,
    }


    _kwargs["headers"] = headers
    return _kwargs



def _parse_response(*, client: AuthenticatedClient | Client, response: httpx.Response) -> Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal | None:
    if response.status_code == 200:
        response_200 = JobView.from_dict(response.json())



        return response_200

    if response.status_code == 304:
        response_304 = cast(Any, None)
        return response_304

    if response.status_code == 400:
        response_400 = ErrorResponse.from_dict(response.json())



        return response_400

    if response.status_code == 401:
        response_401 = Refusal.from_dict(response.json())



        return response_401

    if response.status_code == 403:
        response_403 = ErrorResponse.from_dict(response.json())



        return response_403

    if response.status_code == 404:
        response_404 = ErrorResponse.from_dict(response.json())



        return response_404

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


def _build_response(*, client: AuthenticatedClient | Client, response: httpx.Response) -> Response[Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    job_id: UUID,
    *,
    client: AuthenticatedClient | Client,
    wait: int | Unset = 0,
    if_none_match: str | Unset = UNSET,

) -> Response[Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal]:
    """ Get a job

     Until the job has ended, `Retry-After` has the seconds to wait before the next request. Accepts `If-
    None-Match`. With `wait`, the answer comes as soon as the job changes, or when the seconds are over.

    Args:
        job_id (UUID): The job's id.
        wait (int | Unset): Seconds to wait for a change of the job. If `If-None-Match` names an
            older view, or too many clients wait, the answer comes at once. Default: 0.
        if_none_match (str | Unset): The ETag of the last answer. If the job has not changed, the
            answer is 304.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal]
     """


    kwargs = _get_kwargs(
        job_id=job_id,
wait=wait,
if_none_match=if_none_match,

    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)

def sync(
    job_id: UUID,
    *,
    client: AuthenticatedClient | Client,
    wait: int | Unset = 0,
    if_none_match: str | Unset = UNSET,

) -> Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal | None:
    """ Get a job

     Until the job has ended, `Retry-After` has the seconds to wait before the next request. Accepts `If-
    None-Match`. With `wait`, the answer comes as soon as the job changes, or when the seconds are over.

    Args:
        job_id (UUID): The job's id.
        wait (int | Unset): Seconds to wait for a change of the job. If `If-None-Match` names an
            older view, or too many clients wait, the answer comes at once. Default: 0.
        if_none_match (str | Unset): The ETag of the last answer. If the job has not changed, the
            answer is 304.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal
     """


    return sync_detailed(
        job_id=job_id,
client=client,
wait=wait,
if_none_match=if_none_match,

    ).parsed

async def asyncio_detailed(
    job_id: UUID,
    *,
    client: AuthenticatedClient | Client,
    wait: int | Unset = 0,
    if_none_match: str | Unset = UNSET,

) -> Response[Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal]:
    """ Get a job

     Until the job has ended, `Retry-After` has the seconds to wait before the next request. Accepts `If-
    None-Match`. With `wait`, the answer comes as soon as the job changes, or when the seconds are over.

    Args:
        job_id (UUID): The job's id.
        wait (int | Unset): Seconds to wait for a change of the job. If `If-None-Match` names an
            older view, or too many clients wait, the answer comes at once. Default: 0.
        if_none_match (str | Unset): The ETag of the last answer. If the job has not changed, the
            answer is 304.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal]
     """


    kwargs = _get_kwargs(
        job_id=job_id,
wait=wait,
if_none_match=if_none_match,

    )

    response = await client.get_async_httpx_client().request(
        **kwargs
    )

    return _build_response(client=client, response=response)

async def asyncio(
    job_id: UUID,
    *,
    client: AuthenticatedClient | Client,
    wait: int | Unset = 0,
    if_none_match: str | Unset = UNSET,

) -> Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal | None:
    """ Get a job

     Until the job has ended, `Retry-After` has the seconds to wait before the next request. Accepts `If-
    None-Match`. With `wait`, the answer comes as soon as the job changes, or when the seconds are over.

    Args:
        job_id (UUID): The job's id.
        wait (int | Unset): Seconds to wait for a change of the job. If `If-None-Match` names an
            older view, or too many clients wait, the answer comes at once. Default: 0.
        if_none_match (str | Unset): The ETag of the last answer. If the job has not changed, the
            answer is 304.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | ErrorResponse | ErrorResponse | Refusal | JobView | Refusal
     """


    return (await asyncio_detailed(
        job_id=job_id,
client=client,
wait=wait,
if_none_match=if_none_match,

    )).parsed
