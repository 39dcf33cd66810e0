from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.error_response import ErrorResponse
from ...models.job_created import JobCreated
from ...models.refusal import Refusal
from ...types import UNSET, Unset
from typing import cast
from uuid import UUID



def _get_kwargs(
    job_id: UUID,
    index: int,
    *,
    idempotency_key: str | Unset = UNSET,

) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(idempotency_key, Unset):
        headers["idempotency-key"] = idempotency_key



    

    

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/api/v1/jobs/{job_id}/images/{index}/again".format(job_id=quote(str(job_id), safe=""),index=quote(str(index), safe=""),),
    }


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
    job_id: UUID,
    index: int,
    *,
    client: AuthenticatedClient | Client,
    idempotency_key: str | Unset = UNSET,

) -> Response[ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal]:
    """ Make one more image like this

     Creates a new job with one image: the same photo, style, prompt, model, metadata and callback URL,
    and another seed. It counts toward the limits like any order.

    Args:
        job_id (UUID): The job's id.
        index (int): The image's index.
        idempotency_key (str | Unset): Repeating a request with the same key returns the same job,
            until its record expires.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal]
     """


    kwargs = _get_kwargs(
        job_id=job_id,
index=index,
idempotency_key=idempotency_key,

    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)

def sync(
    job_id: UUID,
    index: int,
    *,
    client: AuthenticatedClient | Client,
    idempotency_key: str | Unset = UNSET,

) -> ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal | None:
    """ Make one more image like this

     Creates a new job with one image: the same photo, style, prompt, model, metadata and callback URL,
    and another seed. It counts toward the limits like any order.

    Args:
        job_id (UUID): The job's id.
        index (int): The image's index.
        idempotency_key (str | Unset): Repeating a request with the same key returns the same job,
            until its record expires.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal
     """


    return sync_detailed(
        job_id=job_id,
index=index,
client=client,
idempotency_key=idempotency_key,

    ).parsed

async def asyncio_detailed(
    job_id: UUID,
    index: int,
    *,
    client: AuthenticatedClient | Client,
    idempotency_key: str | Unset = UNSET,

) -> Response[ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal]:
    """ Make one more image like this

     Creates a new job with one image: the same photo, style, prompt, model, metadata and callback URL,
    and another seed. It counts toward the limits like any order.

    Args:
        job_id (UUID): The job's id.
        index (int): The image's index.
        idempotency_key (str | Unset): Repeating a request with the same key returns the same job,
            until its record expires.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal]
     """


    kwargs = _get_kwargs(
        job_id=job_id,
index=index,
idempotency_key=idempotency_key,

    )

    response = await client.get_async_httpx_client().request(
        **kwargs
    )

    return _build_response(client=client, response=response)

async def asyncio(
    job_id: UUID,
    index: int,
    *,
    client: AuthenticatedClient | Client,
    idempotency_key: str | Unset = UNSET,

) -> ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal | None:
    """ Make one more image like this

     Creates a new job with one image: the same photo, style, prompt, model, metadata and callback URL,
    and another seed. It counts toward the limits like any order.

    Args:
        job_id (UUID): The job's id.
        index (int): The image's index.
        idempotency_key (str | Unset): Repeating a request with the same key returns the same job,
            until its record expires.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ErrorResponse | ErrorResponse | Refusal | JobCreated | Refusal
     """


    return (await asyncio_detailed(
        job_id=job_id,
index=index,
client=client,
idempotency_key=idempotency_key,

    )).parsed
