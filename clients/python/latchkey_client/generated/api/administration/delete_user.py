from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem import Problem
from ...models.receipt import Receipt
from ...types import UNSET, Response, Unset


def _get_kwargs(
    id: UUID,
    *,
    if_match: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(if_match, Unset):
        headers["If-Match"] = if_match

    _kwargs: dict[str, Any] = {
        "method": "delete",
        "url": "/admin/users/{id}".format(
            id=quote(str(id), safe=""),
        ),
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | Receipt | None:
    if response.status_code == 200:
        response_200 = Receipt.from_dict(response.json())

        return response_200

    if (
        response.status_code == 401
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_401 = Problem.from_dict(response.json())

        return response_401

    if (
        response.status_code == 403
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_403 = Problem.from_dict(response.json())

        return response_403

    if (
        response.status_code == 404
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_404 = Problem.from_dict(response.json())

        return response_404

    if (
        response.status_code == 409
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_409 = Problem.from_dict(response.json())

        return response_409

    if (
        response.status_code == 412
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_412 = Problem.from_dict(response.json())

        return response_412

    if (
        response.status_code == 500
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_500 = Problem.from_dict(response.json())

        return response_500

    if (
        response.status_code == 503
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_503 = Problem.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[Problem | Receipt]:
    return Response(
        status_code=response.status_code,
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    id: UUID,
    *,
    client: AuthenticatedClient | Client,
    if_match: str | Unset = UNSET,
) -> Response[Problem | Receipt]:
    """Deletes an account

     Fresh, role `admin`. Only a `super_admin` may delete an account that has the role `admin` or
    `super_admin`. Nobody can register the username and the address for 30 days, or as long as the
    deployment configures. The last active `super_admin` cannot be deleted.

    Args:
        id (UUID):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Receipt]
    """

    kwargs = _get_kwargs(
        id=id,
        if_match=if_match,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    id: UUID,
    *,
    client: AuthenticatedClient | Client,
    if_match: str | Unset = UNSET,
) -> Problem | Receipt | None:
    """Deletes an account

     Fresh, role `admin`. Only a `super_admin` may delete an account that has the role `admin` or
    `super_admin`. Nobody can register the username and the address for 30 days, or as long as the
    deployment configures. The last active `super_admin` cannot be deleted.

    Args:
        id (UUID):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | Receipt
    """

    return sync_detailed(
        id=id,
        client=client,
        if_match=if_match,
    ).parsed


async def asyncio_detailed(
    id: UUID,
    *,
    client: AuthenticatedClient | Client,
    if_match: str | Unset = UNSET,
) -> Response[Problem | Receipt]:
    """Deletes an account

     Fresh, role `admin`. Only a `super_admin` may delete an account that has the role `admin` or
    `super_admin`. Nobody can register the username and the address for 30 days, or as long as the
    deployment configures. The last active `super_admin` cannot be deleted.

    Args:
        id (UUID):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Receipt]
    """

    kwargs = _get_kwargs(
        id=id,
        if_match=if_match,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    id: UUID,
    *,
    client: AuthenticatedClient | Client,
    if_match: str | Unset = UNSET,
) -> Problem | Receipt | None:
    """Deletes an account

     Fresh, role `admin`. Only a `super_admin` may delete an account that has the role `admin` or
    `super_admin`. Nobody can register the username and the address for 30 days, or as long as the
    deployment configures. The last active `super_admin` cannot be deleted.

    Args:
        id (UUID):
        if_match (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | Receipt
    """

    return (
        await asyncio_detailed(
            id=id,
            client=client,
            if_match=if_match,
        )
    ).parsed
