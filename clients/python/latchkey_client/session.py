"""Stores and refreshes the tokens of a session. Concurrent calls and threads share one refresh."""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import httpx

from .generated import AuthenticatedClient

SignedOut = Literal["logout", "refused"]
"""Why a session ended: the user logged out, or the server refused to refresh the session."""

_ISSUES = {"/auth/login", "/auth/password", "/auth/refresh", "/auth/step-up"}
"""The paths whose 200 response to a POST contains the tokens of a session. A test compares them with the API."""

_BEGINS = {"/auth/login", "/auth/refresh"}
"""The paths of ``_ISSUES`` that take no access token."""

_ENDS = {"/auth/logout", "/auth/logout-all", "/auth/me/delete"}
"""The paths to which a successful POST ends the session."""


@dataclass(frozen=True)
class StoredTokens:
    """The tokens of a session, and the API that issued them. Both tokens are secrets, so neither is printed."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    base_url: str | None = None
    """The address of the API. A session ignores the tokens of another API; ``None`` fits every API."""


@dataclass(frozen=True)
class _Renewal:
    """The result of a refresh."""

    tokens: StoredTokens | None
    """The current tokens, unless the session has ended or another account has logged in."""
    refused: bool = False
    """Whether the server has just refused to refresh the session."""


class TokenStorage(Protocol):
    """Where a session keeps its tokens. Only one session at a time may use the same tokens.

    Keep ``StoredTokens.base_url`` too: without it, a session sends the tokens to any ``base_url``.
    """

    def load(self) -> StoredTokens | None: ...

    def save(self, tokens: StoredTokens | None) -> None:
        """Replaces the tokens; ``None`` removes them."""


class MemoryStorage:
    """Keeps the tokens in this process only."""

    def __init__(self) -> None:
        self._tokens: StoredTokens | None = None

    def load(self) -> StoredTokens | None:
        return self._tokens

    def save(self, tokens: StoredTokens | None) -> None:
        self._tokens = tokens


class Session:
    """A session with the API. Any number of threads may use it.

    ``client`` is the client to pass to the generated functions, and ``http`` calls your own routes. Both send the
    access token. They store the tokens of a login, and remove them at a logout. If the server refuses the access token
    as invalid, they refresh it and repeat the request once.

    If the server refuses the refresh, the session ends. A refresh that fails for another reason raises an
    ``httpx.HTTPError``; the session continues.

    A generated function raises ``UnexpectedStatus`` if the response is not one of those that the API describes, such as
    an error of a proxy or of the API gateway. If a body does not have the described format, it raises another error,
    such as ``KeyError`` or ``ValueError``.
    """

    def __init__(
        self,
        base_url: str,
        *,
        storage: TokenStorage | None = None,
        on_signed_out: Callable[[SignedOut], None] | None = None,
        timeout: float = 30.0,
        refresh_timeout: float = 4.0,
        **httpx_args: Any,
    ) -> None:
        """
        :param base_url: The address of the API: the output ``ApiUrl`` of the stack.
        :param storage: Where the tokens are kept; in memory by default.
        :param on_signed_out: Called once when a session ends. Not called if nobody is signed in.
        :param timeout: The timeout of requests in seconds.
        :param refresh_timeout: How long a refresh may take, in seconds, before it is repeated. Twice this time must be
            shorter than the grace period of the server (``REFRESH_GRACE_SECONDS``), because the repetition must reach
            the server within it.
        :param httpx_args: Further arguments for ``httpx.Client``, such as ``verify``, ``headers`` or ``cookies``.
            Refreshes never follow redirects. ``event_hooks`` are not called for refreshes. They must not use the
            session, because it is locked during a login or logout. A hook that raises for a 401 prevents the refresh.
        """
        base_url = base_url.rstrip("/")
        # Reading the certificates is slow, so do it once.
        httpx_args.setdefault("verify", httpx.create_ssl_context())
        self._base = httpx.URL(base_url)
        self._storage = storage or MemoryStorage()
        self._refresh_timeout = refresh_timeout
        self._on_signed_out = on_signed_out or (lambda reason: None)
        self._changes = threading.Lock()
        """Held while a request may change the tokens."""
        self._flight: tuple[str, Future[StoredTokens | None]] | None = None
        """The access token that a refresh is replacing, and the future result of the refresh."""
        self._flights = threading.Lock()
        # The target of a redirect would get the refresh token.
        refresher_args = {**httpx_args, "follow_redirects": False}
        # A hook, for example one that logs requests, would get the refresh token too.
        refresher_args.pop("event_hooks", None)
        self._refresher = httpx.Client(base_url=base_url, timeout=refresh_timeout, **refresher_args)
        self.http = httpx.Client(base_url=base_url, auth=_Auth(self), timeout=timeout, **httpx_args)
        self.client = AuthenticatedClient(base_url=base_url, token="", raise_on_unexpected_status=True)
        self.client.set_httpx_client(self.http)
        # Without this, the generated coroutines would send requests with an empty token.
        self.client.set_async_httpx_client(httpx.AsyncClient(base_url=base_url, transport=_NoCoroutines()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections. The tokens stay in the storage."""
        self.http.close()
        self._refresher.close()

    @property
    def is_signed_in(self) -> bool:
        """Whether there are tokens. Only a request shows whether the server still accepts them."""
        return self._load() is not None

    def forget(self) -> None:
        """Removes the tokens without a request. The session continues on the server until it expires."""
        with self._changes:
            if self._load():
                self._storage.save(None)

    def _load(self) -> StoredTokens | None:
        """The stored tokens, unless another API issued them."""
        tokens = self._storage.load()
        return tokens if tokens and tokens.base_url in (None, str(self._base)) else None

    def _flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        path = self._path_of(request.url)
        if path is None or "Authorization" in request.headers:
            yield request
            return
        changes = request.method == "POST" and path in _ISSUES | _ENDS
        before = self._load()
        if before or changes:
            # The body may be an iterator or a file, which a repetition could not read again.
            request.read()
        if changes:
            ended = yield from self._change(path, request, before)
            if ended:
                self._on_signed_out(ended)
        else:
            yield from self._authorized(request, before, self._renew_once)

    def _change(
        self, path: str, request: httpx.Request, before: StoredTokens | None
    ) -> Generator[httpx.Request, httpx.Response, SignedOut | None]:
        """Sends a request that may change the tokens, and stores the change. Returns why the session ended, if it did.

        ``before`` are the tokens that were stored when the call was made.
        """
        refused = False

        def renew(used: StoredTokens) -> StoredTokens | None:
            nonlocal refused
            renewal = self._renew(used)
            refused = renewal.refused
            return renewal.tokens

        # Hold the lock until the change is stored: no refresh may store its tokens between the response and the change.
        with self._changes:
            stored = self._load()
            # Use the account that was signed in when the call was made, even if another one has logged in since.
            used = stored if _same_account(before, stored) else before
            begins = path in _BEGINS
            response = yield from self._authorized(request, None if begins else used, renew)
            if response.is_success and (begins or _same_account(used, self._load())):
                if path in _ENDS:
                    self._storage.save(None)
                    return "logout"
                if tokens := self._tokens_of(response):
                    self._storage.save(tokens)
        return "refused" if refused else None

    def _authorized(
        self,
        request: httpx.Request,
        tokens: StoredTokens | None,
        renew: Callable[[StoredTokens], StoredTokens | None],
    ) -> Generator[httpx.Request, httpx.Response, httpx.Response]:
        """Sends a request with the access token. If the server refuses the token as invalid, renews it and repeats."""
        if tokens is None:
            return (yield request)
        response = yield _with_token(request, tokens)
        if _is_invalid_token(response) and (renewed := renew(tokens)):
            response = yield _with_token(request, renewed)
        return response

    def _path_of(self, url: httpx.URL) -> str | None:
        """The path below the base address, or ``None`` if a request goes elsewhere and must not have the token."""
        same_origin = (url.scheme, url.host, url.port) == (self._base.scheme, self._base.host, self._base.port)
        base = self._base.path.rstrip("/")
        return url.path.removeprefix(base) if same_origin and url.path.startswith(f"{base}/") else None

    def _renew_once(self, used: StoredTokens) -> StoredTokens | None:
        """Threads whose token was refused share one refresh. Only one of them reports a refusal."""
        with self._flights:
            flight = self._flight
            leads = flight is None or flight[0] != used.access_token
            if leads:
                future: Future[StoredTokens | None] = Future()
                self._flight = (used.access_token, future)
            else:
                future = flight[1]
        if not leads:
            return future.result()
        try:
            with self._changes:
                renewal = self._renew(used)
            future.set_result(renewal.tokens)
        except BaseException as error:
            future.set_exception(error)
            raise
        finally:
            with self._flights:
                if self._flight and self._flight[1] is future:
                    self._flight = None
        if renewal.refused:
            self._on_signed_out("refused")
        return renewal.tokens

    def _renew(self, used: StoredTokens) -> _Renewal:
        """Refreshes, unless another thread has done so. The caller holds the lock."""
        stored = self._load()
        if stored is None or not _same_account(used, stored):
            return _Renewal(None)
        if stored.access_token != used.access_token:
            return _Renewal(stored)
        response = self._exchange(stored.refresh_token)
        # A proxy can answer 401 too.
        if _is_invalid_token(response):
            self._storage.save(None)
            return _Renewal(None, refused=True)
        response.raise_for_status()
        renewed = self._tokens_of(response)
        if renewed is None:
            raise httpx.DecodingError("the response to a refresh contains no tokens", request=response.request)
        self._storage.save(renewed)
        return _Renewal(renewed)

    def _exchange(self, refresh_token: str) -> httpx.Response:
        """Sends a refresh token, and sends it again if no response arrives or the response is 5xx.

        The server may already have replaced the token, and accepts the old one only for a few more seconds.
        """
        try:
            response = self._send(refresh_token)
            if not response.is_server_error:
                return response
        except httpx.TransportError:
            pass
        return self._send(refresh_token)

    def _send(self, refresh_token: str) -> httpx.Response:
        """Sends a refresh token, and stops waiting after ``refresh_timeout``.

        The timeout of httpx limits each step, such as one read, but not their sum.
        """
        request = self._refresher.build_request("POST", "/auth/refresh", json={"refresh_token": refresh_token})
        sent: Future[httpx.Response] = Future()

        def send() -> None:
            try:
                sent.set_result(self._refresher.send(request))
            except BaseException as error:
                sent.set_exception(error)

        # The thread is a daemon, so the interpreter does not wait for it on exit.
        thread = threading.Thread(target=send, name="latchkey-refresh", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Some versions of Python start no threads on exit.
            send()
        try:
            return sent.result(self._refresh_timeout)
        except TimeoutError:
            raise httpx.ReadTimeout("the server did not respond to a refresh in time", request=request) from None

    def _tokens_of(self, response: httpx.Response) -> StoredTokens | None:
        response.read()
        body = _json(response)
        if not isinstance(body, dict):
            return None
        access, refresh = body.get("access_token"), body.get("refresh_token")
        if not isinstance(access, str) or not isinstance(refresh, str):
            return None
        return StoredTokens(access, refresh, str(self._base))


class _Auth(httpx.Auth):
    def __init__(self, session: Session) -> None:
        self._session = session

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        return self._session._flow(request)


class _NoCoroutines(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise RuntimeError("a Session is synchronous: call it in a thread, with asyncio.to_thread")


def _with_token(request: httpx.Request, tokens: StoredTokens) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {tokens.access_token}"
    return request


def _is_invalid_token(response: httpx.Response) -> bool:
    if response.status_code != 401:
        return False
    response.read()
    problem = _json(response)
    return isinstance(problem, dict) and problem.get("code") == "invalid_token"


def _same_account(one: StoredTokens | None, other: StoredTokens | None) -> bool:
    """Whether both exist and belong to the same account, which the third part of a refresh token names."""
    if one is None or other is None:
        return False
    accounts = [tokens.refresh_token.split(".")[2:3] for tokens in (one, other)]
    return one.refresh_token == other.refresh_token or (accounts[0] == accounts[1] != [])


def _json(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None
