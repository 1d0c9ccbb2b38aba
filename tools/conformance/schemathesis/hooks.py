"""Tells schemathesis how to sign in and which texts are usernames and passwords, and checks that it stays signed in."""

import itertools
import os

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.openapi.checks import RejectedPositiveData

URL = os.environ["LATCHKEY_URL"]
PASSWORD = os.environ["LATCHKEY_PASSWORD"]
ADMINISTRATOR = os.environ["LATCHKEY_ADMINISTRATOR"]
# `logout-all` ends the sessions of this account, so no other operation may use it.
LEAVER = os.environ["LATCHKEY_LEAVER"]

LOGINS = itertools.count()
# The `Authorization` headers of all sessions.
AUTHORIZATIONS = set()


def is_public(operation):
    return operation.definition.raw.get("security") == []


def session_key(case, _):
    """Names the session of a request, if it needs one. All requests share one, except those that end sessions."""
    if is_public(case.operation):
        return None
    match case.operation.path:
        case "/auth/logout":
            return "logout"
        case "/auth/logout-all":
            return f"logout-all {next(LOGINS)}"
        case _:
            return "shared"


@schemathesis.auth(cache_by_key=session_key)
class Session:
    """Signs in once per session."""

    def get(self, case, context):
        if session_key(case, context) is None:
            return None
        is_leaver = case.operation.path == "/auth/logout-all"
        credentials = {"username": LEAVER if is_leaver else ADMINISTRATOR, "password": PASSWORD}
        response = requests.post(f"{URL}/auth/login", json=credentials, timeout=30)
        response.raise_for_status()
        token = response.json()["access_token"]
        AUTHORIZATIONS.add(f"Bearer {token}")
        return token

    def set(self, case, token, _):
        case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.check
class SignedIn:
    """Fails if the server refuses the token of a session, or if an operation never receives one. If a session has
    ended, schemathesis signs in again and repeats the request. But it accepts 401 for any request, so without this
    check, the tests would pass even if every operation answered 401."""

    def __init__(self):
        self.guarded = set()
        self.reached = set()

    def after_response(self, ctx, response, case):
        operation = case.operation
        if is_public(operation):
            return
        self.guarded.add(operation.label)
        if response.request.headers.get("Authorization") not in AUTHORIZATIONS:
            return
        if response.status_code != 401:
            self.reached.add(operation.label)
        # A request to `logout-all` also ends the session that schemathesis began for the next such request.
        elif operation.path != "/auth/logout-all":
            code = response.json().get("code")
            raise AssertionError(f"{operation.label} refuses the token of a session: {code}")

    def after_run(self, ctx):
        if not self.guarded:
            raise AssertionError("no operation requires a token")
        if missed := self.guarded - self.reached:
            raise AssertionError(f"never called with a valid token: {', '.join(sorted(missed))}")


# The rules of RFC 8265 and the list of common passwords cannot be written as a JSON schema. The prefixes avoid reserved
# names and common passwords.
schemathesis.openapi.format(
    "username", st.text("abcxyz0189._-éßжλ", min_size=3, max_size=30).map("u-".__add__)
)
schemathesis.openapi.format(
    "password", st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map("Kj4#vQ9-".__add__)
)


@schemathesis.hook
def filter_failure(_, failure, case, response):
    """Accepts that the server refuses some well-formed input: codes and cursors that it did not issue, and attributes
    that are too long in bytes. The document describes these rules, but no JSON schema can state them."""
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    if problem["code"] == "invalid_code":
        return False
    faults = {(error["field"], error["code"]) for error in problem.get("errors", [])}
    return faults not in ({("cursor", "invalid_cursor")}, {("attributes", "too_long")})
