from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import httpx

from ...client import AuthenticatedClient, Client
from ...types import Response, UNSET
from ... import errors

from ...models.error_response import ErrorResponse
from ...models.refusal import Refusal
from ...types import File, FileTypes
from io import BytesIO
from typing import cast



def _get_kwargs(
    style_id: str,

) -> dict[str, Any]:
    

    

    

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/styles/{style_id}/preview".format(style_id=quote(str(style_id), safe=""),),
    }


    return _kwargs



def _parse_response(*, client: AuthenticatedClient | Client, response: httpx.Response) -> ErrorResponse | ErrorResponse | Refusal | File | Refusal | None:
    if response.status_code == 200:
        response_200 = File(
             payload = BytesIO(response.content)
        )



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


def _build_response(*, client: AuthenticatedClient | Client, response: httpx.Response) -> Response[ErrorResponse | ErrorResponse | Refusal | File | Refusal]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    style_id: str,
    *,
    client: AuthenticatedClient,

) -> Response[ErrorResponse | ErrorResponse | Refusal | File | Refusal]:
    """ Get the picture of a built-in style

    Args:
        style_id (str): The style's id.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ErrorResponse | ErrorResponse | Refusal | File | Refusal]
     """


    kwargs = _get_kwargs(
        style_id=style_id,

    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)

def sync(
    style_id: str,
    *,
    client: AuthenticatedClient,

) -> ErrorResponse | ErrorResponse | Refusal | File | Refusal | None:
    """ Get the picture of a built-in style

    Args:
        style_id (str): The style's id.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ErrorResponse | ErrorResponse | Refusal | File | Refusal
     """


    return sync_detailed(
        style_id=style_id,
client=client,

    ).parsed

async def asyncio_detailed(
    style_id: str,
    *,
    client: AuthenticatedClient,

) -> Response[ErrorResponse | ErrorResponse | Refusal | File | Refusal]:
    """ Get the picture of a built-in style

    Args:
        style_id (str): The style's id.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[ErrorResponse | ErrorResponse | Refusal | File | Refusal]
     """


    kwargs = _get_kwargs(
        style_id=style_id,

    )

    response = await client.get_async_httpx_client().request(
        **kwargs
    )

    return _build_response(client=client, response=response)

async def asyncio(
    style_id: str,
    *,
    client: AuthenticatedClient,

) -> ErrorResponse | ErrorResponse | Refusal | File | Refusal | None:
    """ Get the picture of a built-in style

    Args:
        style_id (str): The style's id.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        ErrorResponse | ErrorResponse | Refusal | File | Refusal
     """


    return (await asyncio_detailed(
        style_id=style_id,
client=client,

    )).parsed
