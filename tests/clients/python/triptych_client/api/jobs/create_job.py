from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.create_job import CreateJob
from ...models.error_response import ErrorResponse
from ...models.job_created import JobCreated
from ...models.refusal import Refusal
from ...types import UNSET, Unset
from typing import cast



def _get_kwargs(
    *,
    body: CreateJob,
    idempotency_key: str | Unset = UNSET,

) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(idempotency_key, Unset):
        headers["idempotency-key"] = idempotency_key



    

    

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/jobs",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs



def _parse_response(*, client: AuthenticatedClient | Client, response: httpx.Response) -> ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal | None:
    if response.status_code == 201:
        response_201 = JobCreated.from_dict(response.json())



        return response_201

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

    if response.status_code == 409:
        response_409 = ErrorResponse.from_dict(response.json())



        return response_409

    if response.status_code == 413:
        response_413 = ErrorResponse.from_dict(response.json())



        return response_413

    if response.status_code == 415:
        response_415 = ErrorResponse.from_dict(response.json())



        return response_415

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


def _build_response(*, client: AuthenticatedClient | Client, response: httpx.Response) -> Response[ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: CreateJob,
    idempotency_key: str | Unset = UNSET,

) -> Response[ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal]:
    """ Create a job

     Returns the URL to upload the photo to. The images are generated when the photo arrives. With
    `photo_of`, that is at once.

    Args:
        idempotency_key (str | Unset): Repeating a request with the same key returns the same job,
            until its record expires.
        body (CreateJob): What to make of a photo. Either `content_type` and `content_length`
            announce an upload, or `photo_of` names a job.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal]
     """


    kwargs = _get_kwargs(
        body=body,
idempotency_key=idempotency_key,

    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)

def sync(
    *,
    client: AuthenticatedClient | Client,
    body: CreateJob,
    idempotency_key: str | Unset = UNSET,

) -> ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal | None:
    """ Create a job

     Returns the URL to upload the photo to. The images are generated when the photo arrives. With
    `photo_of`, that is at once.

    Args:
        idempotency_key (str | Unset): Repeating a request with the same key returns the same job,
            until its record expires.
        body (CreateJob): What to make of a photo. Either `content_type` and `content_length`
            announce an upload, or `photo_of` names a job.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal
     """


    return sync_detailed(
        client=client,
body=body,
idempotency_key=idempotency_key,

    ).parsed

async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: CreateJob,
    idempotency_key: str | Unset = UNSET,

) -> Response[ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal]:
    """ Create a job

     Returns the URL to upload the photo to. The images are generated when the photo arrives. With
    `photo_of`, that is at once.

    Args:
        idempotency_key (str | Unset): Repeating a request with the same key returns the same job,
            until its record expires.
        body (CreateJob): What to make of a photo. Either `content_type` and `content_length`
            announce an upload, or `photo_of` names a job.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal]
     """


    kwargs = _get_kwargs(
        body=body,
idempotency_key=idempotency_key,

    )

    response = await client.get_async_httpx_client().request(
        **kwargs
    )

    return _build_response(client=client, response=response)

async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: CreateJob,
    idempotency_key: str | Unset = UNSET,

) -> ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal | None:
    """ Create a job

     Returns the URL to upload the photo to. The images are generated when the photo arrives. With
    `photo_of`, that is at once.

    Args:
        idempotency_key (str | Unset): Repeating a request with the same key returns the same job,
            until its record expires.
        body (CreateJob): What to make of a photo. Either `content_type` and `content_length`
            announce an upload, or `photo_of` names a job.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal
     """


    return (await asyncio_detailed(
        client=client,
body=body,
idempotency_key=idempotency_key,

    )).parsed
