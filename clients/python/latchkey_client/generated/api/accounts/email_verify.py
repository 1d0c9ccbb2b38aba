from typing import Any, cast

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.email_verify import EmailVerify
from ...models.problem import Problem
from ...types import Response


def _get_kwargs(
    *,
    body: EmailVerify,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "method": "post",
        "url": "/auth/email/verify",
    }

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
    body: EmailVerify,
) -> Response[Any | Problem]:
    """Confirms an address with an emailed link

     Claims the address for the account that requested the email, in place of its former address. After a
    successful call, a repeated call also gets 204 and changes nothing, as long as the account still has
    the address. An unused token is valid for 10 minutes.

    Args:
        body (EmailVerify):  Example: {'token':
            '1.AZzjbyUwfSGcT1sOim89Fw.b1nK0m0dRx6kq8mY0m3v9g'}.

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
    body: EmailVerify,
) -> Any | Problem | None:
    """Confirms an address with an emailed link

     Claims the address for the account that requested the email, in place of its former address. After a
    successful call, a repeated call also gets 204 and changes nothing, as long as the account still has
    the address. An unused token is valid for 10 minutes.

    Args:
        body (EmailVerify):  Example: {'token':
            '1.AZzjbyUwfSGcT1sOim89Fw.b1nK0m0dRx6kq8mY0m3v9g'}.

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
    body: EmailVerify,
) -> Response[Any | Problem]:
    """Confirms an address with an emailed link

     Claims the address for the account that requested the email, in place of its former address. After a
    successful call, a repeated call also gets 204 and changes nothing, as long as the account still has
    the address. An unused token is valid for 10 minutes.

    Args:
        body (EmailVerify):  Example: {'token':
            '1.AZzjbyUwfSGcT1sOim89Fw.b1nK0m0dRx6kq8mY0m3v9g'}.

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
    body: EmailVerify,
) -> Any | Problem | None:
    """Confirms an address with an emailed link

     Claims the address for the account that requested the email, in place of its former address. After a
    successful call, a repeated call also gets 204 and changes nothing, as long as the account still has
    the address. An unused token is valid for 10 minutes.

    Args:
        body (EmailVerify):  Example: {'token':
            '1.AZzjbyUwfSGcT1sOim89Fw.b1nK0m0dRx6kq8mY0m3v9g'}.

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
