from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.problem import Problem
from ...models.role import Role
from ...models.user_page import UserPage
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    limit: int | Unset = 50,
    cursor: str | Unset = UNSET,
    role: Role | Unset = UNSET,
    disabled: bool | Unset = UNSET,
    email: str | Unset = UNSET,
    username: str | Unset = UNSET,
) -> dict[str, Any]:

    params: dict[str, Any] = {}

    params["limit"] = limit

    params["cursor"] = cursor

    json_role: str | Unset = UNSET
    if not isinstance(role, Unset):
        json_role = role.value

    params["role"] = json_role

    params["disabled"] = disabled

    params["email"] = email

    params["username"] = username

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/admin/users",
        "params": params,
    }

    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | UserPage | None:
    if response.status_code == 200:
        response_200 = UserPage.from_dict(response.json())

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
) -> Response[Problem | UserPage]:
    return Response(
        status_code=response.status_code,
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    limit: int | Unset = 50,
    cursor: str | Unset = UNSET,
    role: Role | Unset = UNSET,
    disabled: bool | Unset = UNSET,
    email: str | Unset = UNSET,
    username: str | Unset = UNSET,
) -> Response[Problem | UserPage]:
    """Lists accounts

     Checked, role `admin`. Filters match exactly and apply together; `email` finds the account that has
    claimed the address. The order is not specified. An account that exists from the request for the
    first page to the request for the last is on exactly one page. A page may be short, or even empty,
    although another page follows; `next_cursor` is `null` only on the last page. A cursor is valid only
    for the same filters.

    Args:
        limit (int | Unset):  Default: 50.
        cursor (str | Unset):
        role (Role | Unset):
        disabled (bool | Unset):
        email (str | Unset): An addr-spec of at most 254 octets. The local part may be in any
            script (RFC 6531); the domain is an IDNA2008 name.
        username (str | Unset): UsernameCaseMapped (RFC 8265), without `@` and without control,
            invisible or direction-changing characters.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | UserPage]
    """

    kwargs = _get_kwargs(
        limit=limit,
        cursor=cursor,
        role=role,
        disabled=disabled,
        email=email,
        username=username,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    limit: int | Unset = 50,
    cursor: str | Unset = UNSET,
    role: Role | Unset = UNSET,
    disabled: bool | Unset = UNSET,
    email: str | Unset = UNSET,
    username: str | Unset = UNSET,
) -> Problem | UserPage | None:
    """Lists accounts

     Checked, role `admin`. Filters match exactly and apply together; `email` finds the account that has
    claimed the address. The order is not specified. An account that exists from the request for the
    first page to the request for the last is on exactly one page. A page may be short, or even empty,
    although another page follows; `next_cursor` is `null` only on the last page. A cursor is valid only
    for the same filters.

    Args:
        limit (int | Unset):  Default: 50.
        cursor (str | Unset):
        role (Role | Unset):
        disabled (bool | Unset):
        email (str | Unset): An addr-spec of at most 254 octets. The local part may be in any
            script (RFC 6531); the domain is an IDNA2008 name.
        username (str | Unset): UsernameCaseMapped (RFC 8265), without `@` and without control,
            invisible or direction-changing characters.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | UserPage
    """

    return sync_detailed(
        client=client,
        limit=limit,
        cursor=cursor,
        role=role,
        disabled=disabled,
        email=email,
        username=username,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    limit: int | Unset = 50,
    cursor: str | Unset = UNSET,
    role: Role | Unset = UNSET,
    disabled: bool | Unset = UNSET,
    email: str | Unset = UNSET,
    username: str | Unset = UNSET,
) -> Response[Problem | UserPage]:
    """Lists accounts

     Checked, role `admin`. Filters match exactly and apply together; `email` finds the account that has
    claimed the address. The order is not specified. An account that exists from the request for the
    first page to the request for the last is on exactly one page. A page may be short, or even empty,
    although another page follows; `next_cursor` is `null` only on the last page. A cursor is valid only
    for the same filters.

    Args:
        limit (int | Unset):  Default: 50.
        cursor (str | Unset):
        role (Role | Unset):
        disabled (bool | Unset):
        email (str | Unset): An addr-spec of at most 254 octets. The local part may be in any
            script (RFC 6531); the domain is an IDNA2008 name.
        username (str | Unset): UsernameCaseMapped (RFC 8265), without `@` and without control,
            invisible or direction-changing characters.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | UserPage]
    """

    kwargs = _get_kwargs(
        limit=limit,
        cursor=cursor,
        role=role,
        disabled=disabled,
        email=email,
        username=username,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    limit: int | Unset = 50,
    cursor: str | Unset = UNSET,
    role: Role | Unset = UNSET,
    disabled: bool | Unset = UNSET,
    email: str | Unset = UNSET,
    username: str | Unset = UNSET,
) -> Problem | UserPage | None:
    """Lists accounts

     Checked, role `admin`. Filters match exactly and apply together; `email` finds the account that has
    claimed the address. The order is not specified. An account that exists from the request for the
    first page to the request for the last is on exactly one page. A page may be short, or even empty,
    although another page follows; `next_cursor` is `null` only on the last page. A cursor is valid only
    for the same filters.

    Args:
        limit (int | Unset):  Default: 50.
        cursor (str | Unset):
        role (Role | Unset):
        disabled (bool | Unset):
        email (str | Unset): An addr-spec of at most 254 octets. The local part may be in any
            script (RFC 6531); the domain is an IDNA2008 name.
        username (str | Unset): UsernameCaseMapped (RFC 8265), without `@` and without control,
            invisible or direction-changing characters.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | UserPage
    """

    return (
        await asyncio_detailed(
            client=client,
            limit=limit,
            cursor=cursor,
            role=role,
            disabled=disabled,
            email=email,
            username=username,
        )
    ).parsed
