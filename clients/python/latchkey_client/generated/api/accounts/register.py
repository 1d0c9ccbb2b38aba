from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.message import Message
from ...models.problem import Problem
from ...models.registered import Registered
from ...models.registration import Registration
from ...types import Response


def _get_kwargs(
    *,
    body: Registration,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/auth/register",
    }

    _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Message | Problem | Registered | None:
    if response.status_code == 201:
        response_201 = Registered.from_dict(response.json())

        return response_201

    if response.status_code == 202:
        response_202 = Message.from_dict(response.json())

        return response_202

    if (
        response.status_code == 400
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_400 = Problem.from_dict(response.json())

        return response_400

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
) -> Response[Message | Problem | Registered]:
    return Response(
        status_code=response.status_code,
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: Registration,
) -> Response[Message | Problem | Registered]:
    """Registers an account

     A new account has the role `user`. Names are compared regardless of case, width and normalization.
    The registered spelling is kept for display.

    Args:
        body (Registration):  Example: {'username': 'testuser', 'password': 'a long walk by the
            river', 'email': 'testuser@example.com'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Message | Problem | Registered]
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
    body: Registration,
) -> Message | Problem | Registered | None:
    """Registers an account

     A new account has the role `user`. Names are compared regardless of case, width and normalization.
    The registered spelling is kept for display.

    Args:
        body (Registration):  Example: {'username': 'testuser', 'password': 'a long walk by the
            river', 'email': 'testuser@example.com'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Message | Problem | Registered
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: Registration,
) -> Response[Message | Problem | Registered]:
    """Registers an account

     A new account has the role `user`. Names are compared regardless of case, width and normalization.
    The registered spelling is kept for display.

    Args:
        body (Registration):  Example: {'username': 'testuser', 'password': 'a long walk by the
            river', 'email': 'testuser@example.com'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Message | Problem | Registered]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: Registration,
) -> Message | Problem | Registered | None:
    """Registers an account

     A new account has the role `user`. Names are compared regardless of case, width and normalization.
    The registered spelling is kept for display.

    Args:
        body (Registration):  Example: {'username': 'testuser', 'password': 'a long walk by the
            river', 'email': 'testuser@example.com'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Message | Problem | Registered
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
