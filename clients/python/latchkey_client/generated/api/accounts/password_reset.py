from typing import Any, cast

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.password_reset_by_digits import PasswordResetByDigits
from ...models.password_reset_by_link import PasswordResetByLink
from ...models.problem import Problem
from ...types import Response


def _get_kwargs(
    *,
    body: PasswordResetByDigits | PasswordResetByLink,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/auth/password/reset",
    }

    if isinstance(body, PasswordResetByLink):
        _kwargs["json"] = body.to_dict()
    else:
        _kwargs["json"] = body.to_dict()

    headers["Content-Type"] = "application/json"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Any | Problem | None:
    if response.status_code == 204:
        response_204 = cast(Any, None)
        return response_204

    if (
        response.status_code == 400
        and "application/problem+json" in response.headers.get("Content-Type", "")
    ):
        response_400 = Problem.from_dict(response.json())

        return response_400

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
) -> Response[Any | Problem]:
    return Response(
        status_code=response.status_code,
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: PasswordResetByDigits | PasswordResetByLink,
) -> Response[Any | Problem]:
    """Resets a password with an emailed code

     Takes the token of the link, or the digits with the address. All sessions end. A refused password
    does not use up the code. Five wrong tries void the digits, but not the link. A value that is not
    eight digits, apart from white space and hyphens, is not counted as a try.

    Args:
        body (PasswordResetByDigits | PasswordResetByLink): The token of the link, or the digits
            with the address that they were sent to. The members of the other form are absent or null.
            Example: {'email': 'testuser@example.com', 'code': '1234 5678', 'new_password': 'a longer
            walk along the coast'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
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
    body: PasswordResetByDigits | PasswordResetByLink,
) -> Any | Problem | None:
    """Resets a password with an emailed code

     Takes the token of the link, or the digits with the address. All sessions end. A refused password
    does not use up the code. Five wrong tries void the digits, but not the link. A value that is not
    eight digits, apart from white space and hyphens, is not counted as a try.

    Args:
        body (PasswordResetByDigits | PasswordResetByLink): The token of the link, or the digits
            with the address that they were sent to. The members of the other form are absent or null.
            Example: {'email': 'testuser@example.com', 'code': '1234 5678', 'new_password': 'a longer
            walk along the coast'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: PasswordResetByDigits | PasswordResetByLink,
) -> Response[Any | Problem]:
    """Resets a password with an emailed code

     Takes the token of the link, or the digits with the address. All sessions end. A refused password
    does not use up the code. Five wrong tries void the digits, but not the link. A value that is not
    eight digits, apart from white space and hyphens, is not counted as a try.

    Args:
        body (PasswordResetByDigits | PasswordResetByLink): The token of the link, or the digits
            with the address that they were sent to. The members of the other form are absent or null.
            Example: {'email': 'testuser@example.com', 'code': '1234 5678', 'new_password': 'a longer
            walk along the coast'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[Any | Problem]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: PasswordResetByDigits | PasswordResetByLink,
) -> Any | Problem | None:
    """Resets a password with an emailed code

     Takes the token of the link, or the digits with the address. All sessions end. A refused password
    does not use up the code. Five wrong tries void the digits, but not the link. A value that is not
    eight digits, apart from white space and hyphens, is not counted as a try.

    Args:
        body (PasswordResetByDigits | PasswordResetByLink): The token of the link, or the digits
            with the address that they were sent to. The members of the other form are absent or null.
            Example: {'email': 'testuser@example.com', 'code': '1234 5678', 'new_password': 'a longer
            walk along the coast'}.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Any | Problem
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
