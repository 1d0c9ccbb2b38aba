from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.deletion import Deletion
from ...models.problem import Problem
from ...models.receipt import Receipt
from ...types import Response


def _get_kwargs(
    *,
    body: Deletion,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/auth/me/delete",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Problem | Receipt | None:
    if response.status_code == 200:
        response_200 = Receipt.from_dict(response.json())

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
        response.status_code == 409
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_409 = Problem.from_dict(response.json())

        return response_409

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
        response.status_code == 429
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_429 = Problem.from_dict(response.json())

        return response_429

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
    *,
    client: AuthenticatedClient | Client,
    body: Deletion,
) -> Response[Problem | Receipt]:
    """Deletes the caller's account

     Fresh. Requires the password; guesses are throttled as at login. Nobody can register the username
    and the address for 30 days, or as long as the deployment configures. The last active `super_admin`
    cannot be deleted.

    Args:
        body (Deletion):  Example: {'password': 'a long walk by the river'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Receipt]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    body: Deletion,
) -> Problem | Receipt | None:
    """Deletes the caller's account

     Fresh. Requires the password; guesses are throttled as at login. Nobody can register the username
    and the address for 30 days, or as long as the deployment configures. The last active `super_admin`
    cannot be deleted.

    Args:
        body (Deletion):  Example: {'password': 'a long walk by the river'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | Receipt
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: Deletion,
) -> Response[Problem | Receipt]:
    """Deletes the caller's account

     Fresh. Requires the password; guesses are throttled as at login. Nobody can register the username
    and the address for 30 days, or as long as the deployment configures. The last active `super_admin`
    cannot be deleted.

    Args:
        body (Deletion):  Example: {'password': 'a long walk by the river'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Problem | Receipt]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: Deletion,
) -> Problem | Receipt | None:
    """Deletes the caller's account

     Fresh. Requires the password; guesses are throttled as at login. Nobody can register the username
    and the address for 30 days, or as long as the deployment configures. The last active `super_admin`
    cannot be deleted.

    Args:
        body (Deletion):  Example: {'password': 'a long walk by the river'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Problem | Receipt
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
