from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem import Problem
from ...models.user_change import UserChange
from ...models.user_details import UserDetails
from ...types import Response


def _get_kwargs(
    id: UUID,
    *,
    body: UserChange,
    if_match: str,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    headers["If-Match"] = if_match

    _kwargs: dict[str, Any] = {
        "method": "patch",
        "url": "/admin/users/{id}".format(
            id=quote(str(id), safe=""),
        ),
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | UserDetails | None:
    if response.status_code == 200:
        response_200 = UserDetails.from_dict(response.json())

        return response_200

    if (
        response.status_code == 400
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_400 = Problem.from_dict(response.json())

        return response_400

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
        response.status_code == 413
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_413 = Problem.from_dict(response.json())

        return response_413

    if (
        response.status_code == 415
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_415 = Problem.from_dict(response.json())

        return response_415

    if (
        response.status_code == 428
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_428 = Problem.from_dict(response.json())

        return response_428

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
) -> Response[Problem | UserDetails]:
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
    body: UserChange,
    if_match: str,
) -> Response[Problem | UserDetails]:
    """Changes an account

     Fresh, role `admin`. Requires `If-Match`. Only a `super_admin` may change an account that has the
    role `admin` or `super_admin`. Disabling ends all sessions permanently. Setting `email` without
    `email_verified` makes the address unconfirmed, and `null` removes it. The previous address gets a
    notice if it was confirmed. `attributes` replaces the whole object. The last active `super_admin`
    cannot be disabled. Send one change after another: concurrent changes by one administrator can
    conflict, and some then get 503.

    Args:
        id (UUID):
        if_match (str):
        body (UserChange): Members that are absent stay unchanged. Example: {'disabled': True,
            'attributes': {'tenant': 'acme'}}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | UserDetails]
    """

    kwargs = _get_kwargs(
        id=id,
        body=body,
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
    body: UserChange,
    if_match: str,
) -> Problem | UserDetails | None:
    """Changes an account

     Fresh, role `admin`. Requires `If-Match`. Only a `super_admin` may change an account that has the
    role `admin` or `super_admin`. Disabling ends all sessions permanently. Setting `email` without
    `email_verified` makes the address unconfirmed, and `null` removes it. The previous address gets a
    notice if it was confirmed. `attributes` replaces the whole object. The last active `super_admin`
    cannot be disabled. Send one change after another: concurrent changes by one administrator can
    conflict, and some then get 503.

    Args:
        id (UUID):
        if_match (str):
        body (UserChange): Members that are absent stay unchanged. Example: {'disabled': True,
            'attributes': {'tenant': 'acme'}}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | UserDetails
    """

    return sync_detailed(
        id=id,
        client=client,
        body=body,
        if_match=if_match,
    ).parsed


async def asyncio_detailed(
    id: UUID,
    *,
    client: AuthenticatedClient | Client,
    body: UserChange,
    if_match: str,
) -> Response[Problem | UserDetails]:
    """Changes an account

     Fresh, role `admin`. Requires `If-Match`. Only a `super_admin` may change an account that has the
    role `admin` or `super_admin`. Disabling ends all sessions permanently. Setting `email` without
    `email_verified` makes the address unconfirmed, and `null` removes it. The previous address gets a
    notice if it was confirmed. `attributes` replaces the whole object. The last active `super_admin`
    cannot be disabled. Send one change after another: concurrent changes by one administrator can
    conflict, and some then get 503.

    Args:
        id (UUID):
        if_match (str):
        body (UserChange): Members that are absent stay unchanged. Example: {'disabled': True,
            'attributes': {'tenant': 'acme'}}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | UserDetails]
    """

    kwargs = _get_kwargs(
        id=id,
        body=body,
        if_match=if_match,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    id: UUID,
    *,
    client: AuthenticatedClient | Client,
    body: UserChange,
    if_match: str,
) -> Problem | UserDetails | None:
    """Changes an account

     Fresh, role `admin`. Requires `If-Match`. Only a `super_admin` may change an account that has the
    role `admin` or `super_admin`. Disabling ends all sessions permanently. Setting `email` without
    `email_verified` makes the address unconfirmed, and `null` removes it. The previous address gets a
    notice if it was confirmed. `attributes` replaces the whole object. The last active `super_admin`
    cannot be disabled. Send one change after another: concurrent changes by one administrator can
    conflict, and some then get 503.

    Args:
        id (UUID):
        if_match (str):
        body (UserChange): Members that are absent stay unchanged. Example: {'disabled': True,
            'attributes': {'tenant': 'acme'}}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | UserDetails
    """

    return (
        await asyncio_detailed(
            id=id,
            client=client,
            body=body,
            if_match=if_match,
        )
    ).parsed
