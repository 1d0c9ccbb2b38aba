import asyncio
import io
import json
import re
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import attrs
import httpx
from latchkey_client import MemoryStorage, Session, StoredTokens, UnexpectedStatus, session
from latchkey_client.generated import AuthenticatedClient, Client, models
from latchkey_client.generated.api.accounts import login
from latchkey_client.generated.api.checked import protected
from latchkey_client.generated.api.sessions import logout, step_up
from latchkey_client.generated.models import CredentialsByUsername, StepUp
from server import FakeServer, refresh_token

CREDENTIALS = {"username": "testuser", "password": "a long walk by the river"}


class SessionTest(unittest.TestCase):
    def setUp(self):
        self.server = FakeServer()
        self.addCleanup(self.server.stop)
        self.storage = MemoryStorage()
        self.ended = []
        self.session = self.open()

    def open(self, **options):
        opened = Session(self.server.url, storage=self.storage, on_signed_out=self.ended.append, **options)
        self.addCleanup(opened.close)
        self.assertEqual(opened.http.post("/auth/login", json=CREDENTIALS).status_code, 200)
        return opened

    def status(self, opened=None):
        return protected.sync_detailed(client=(opened or self.session).client).status_code

    def call_twenty_times(self):
        with ThreadPoolExecutor(20) as pool:
            together = threading.Barrier(20)

            def call(_):
                together.wait()
                return int(self.status())

            return list(pool.map(call, range(20)))

    def test_twenty_concurrent_calls_with_an_expired_token_cause_one_refresh(self):
        self.server.expire()
        self.assertEqual(self.call_twenty_times(), [200] * 20)
        self.assertEqual(self.server.count("/auth/refresh"), 1)
        self.assertEqual(self.ended, [])

    def test_a_refusal_that_arrives_after_a_refresh_causes_no_other_refresh(self):
        refused, refreshed = threading.Event(), threading.Event()

        def observe(path):
            if path == "/api/slow" and not refused.is_set():
                refused.set()
                refreshed.wait()

        self.server.observe = observe
        self.server.expire()
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(self.session.http.get, "/api/slow")
            refused.wait()
            try:
                self.assertEqual(self.status(), 200)
            finally:
                refreshed.set()
            self.assertEqual(slow.result().status_code, 200)
        self.assertEqual(self.server.count("/auth/refresh"), 1)

    def test_requests_that_change_the_tokens_exclude_each_other(self):
        held = []
        self.server.observe = lambda path: held.append((path, self.session._changes.locked()))
        self.server.expire()
        self.status()
        self.session.http.post("/auth/login", json=CREDENTIALS)
        self.session.http.post("/auth/logout")
        paths = ["protected", "refresh", "protected", "login", "logout"]
        self.assertEqual(held, [(f"/auth/{path}", path != "protected") for path in paths])

    def test_every_refresh_sends_the_latest_refresh_token(self):
        for _ in range(3):
            self.server.now += 60
            self.server.expire()
            self.assertEqual(self.status(), 200)
        sent = [json.loads(body)["refresh_token"] for path, _, body in self.server.received if path == "/auth/refresh"]
        self.assertEqual(sent, [refresh_token(counter) for counter in range(3)])

    def test_a_refresh_whose_response_is_lost_is_repeated(self):
        for loss in ("reset", "hang"):
            with self.subTest(loss):
                opened = self.open(refresh_timeout=0.2 if loss == "hang" else 4.0)
                before = self.server.count("/auth/refresh")
                self.server.expire()
                self.server.losses.append(loss)
                self.assertEqual(self.status(opened), 200)
                self.assertEqual(self.server.count("/auth/refresh"), before + 2)
                self.assertEqual(self.storage.load().refresh_token, refresh_token(1))
                self.assertEqual(self.ended, [])

    def test_a_refresh_whose_response_drips_is_repeated_in_time(self):
        opened = self.open(refresh_timeout=0.3)
        self.server.expire()
        self.server.losses.append("drip")
        begin = time.monotonic()
        self.assertEqual(self.status(opened), 200)
        self.assertLess(time.monotonic() - begin, 3)
        self.assertEqual(self.server.count("/auth/refresh"), 2)
        self.assertEqual(self.ended, [])

    def begin_login(self, pool):
        """Begins a login as Bob. Returns it, and an event: the server sends the response after the event."""
        begun, send = threading.Event(), threading.Event()

        def observe(path):
            if path == "/auth/login":
                begun.set()
                send.wait(10)

        self.server.observe = observe
        login = pool.submit(self.session.http.post, "/auth/login", json={**CREDENTIALS, "username": "bob"})
        begun.wait()
        return login, send

    def begin_logout(self, pool):
        """Begins a logout, and waits until it has read the tokens."""
        loaded, load = threading.Event(), self.storage.load

        def observe():
            tokens = load()
            loaded.set()
            return tokens

        with mock.patch.object(self.storage, "load", observe):
            logout = pool.submit(self.session.http.post, "/auth/logout-all")
            self.assertTrue(loaded.wait(10))
        return logout

    def test_a_refused_request_is_not_repeated_for_another_account(self):
        self.server.expire()
        with ThreadPoolExecutor(2) as pool:
            login, send = self.begin_login(pool)
            note = pool.submit(self.session.http.post, "/api/notes", content="private")
            while not self.server.count("/api/notes"):
                time.sleep(0.01)
            send.set()
            self.assertEqual(login.result().status_code, 200)
            self.assertEqual(note.result().status_code, 401)
        self.assertEqual(self.server.count("/api/notes"), 1)
        self.assertEqual(self.storage.load().refresh_token, refresh_token(0, "bob"))
        self.assertEqual(self.ended, [])

    def test_a_logout_that_waits_for_the_login_of_another_account_ends_only_its_own_session(self):
        for answer in (204, 401):
            with self.subTest(answer), ThreadPoolExecutor(2) as pool:
                self.session.http.post("/auth/login", json=CREDENTIALS)
                before = self.storage.load()
                login, send = self.begin_login(pool)
                self.server.answers.append((answer, "invalid_token"))
                logout_all = self.begin_logout(pool)
                send.set()
                login.result()
                self.assertEqual(logout_all.result().status_code, answer)
                self.assertEqual(self.server.received[-1], ("/auth/logout-all", f"Bearer {before.access_token}", ""))
                self.assertEqual(self.storage.load().refresh_token, refresh_token(0, "bob"))
                self.assertEqual(self.ended, [])
                self.server.observe = lambda path: None

    def test_a_logout_of_nobody_that_waits_for_a_login_does_not_end_the_new_session(self):
        self.session.forget()
        with ThreadPoolExecutor(2) as pool:
            login, send = self.begin_login(pool)
            logout_all = self.begin_logout(pool)
            send.set()
            login.result()
            self.assertEqual(logout_all.result().status_code, 401)
        self.assertEqual(self.server.received[-1], ("/auth/logout-all", None, ""))
        self.assertEqual(self.storage.load().refresh_token, refresh_token(0, "bob"))

    def test_only_invalid_token_ends_the_session(self):
        for status, code in [(400, "invalid_token"), (400, "invalid_request"), (401, "missing_token"), (403, "other")]:
            with self.subTest(status=status, code=code):
                self.server.expire()
                self.server.refresh_status, self.server.refresh_code = status, code
                with self.assertRaises(httpx.HTTPStatusError):
                    self.status()
                self.assertTrue(self.session.is_signed_in)
                self.assertEqual(self.ended, [])

    def test_a_redirect_of_a_refresh_is_refused(self):
        other = FakeServer()
        self.addCleanup(other.stop)
        opened = self.open(follow_redirects=True)
        self.server.expire()
        self.server.refresh_status, self.server.location = 307, f"{other.url}/auth/refresh"
        with self.assertRaises(httpx.HTTPStatusError):
            self.status(opened)
        self.assertEqual(other.received, [])
        self.assertTrue(opened.is_signed_in)

    def test_tokens_of_another_api_are_neither_sent_nor_removed(self):
        before = self.storage.load()
        other = FakeServer()
        self.addCleanup(other.stop)
        opened = Session(other.url, storage=self.storage, on_signed_out=self.ended.append)
        self.addCleanup(opened.close)
        self.assertFalse(opened.is_signed_in)
        self.assertEqual(self.status(opened), 401)
        self.assertEqual(logout.sync_detailed(client=opened.client).status_code, 401)
        opened.forget()
        self.assertEqual(other.received, [("/auth/protected", None, ""), ("/auth/logout", None, "")])
        self.assertEqual(self.storage.load(), before)
        self.assertEqual(self.ended, [])
        self.assertTrue(self.session.is_signed_in)

    def test_tokens_without_a_base_url_are_accepted(self):
        before = self.storage.load()
        self.storage.save(StoredTokens(before.access_token, before.refresh_token))
        self.assertEqual(self.status(), 200)

    def test_the_reuse_of_a_refresh_token_signs_the_user_out_and_notifies_the_app_once(self):
        stolen = self.storage.load().refresh_token
        self.server.expire()
        self.assertEqual(self.status(), 200)
        self.server.now += 60
        reused = httpx.post(f"{self.server.url}/auth/refresh", json={"refresh_token": stolen})
        self.assertEqual(reused.status_code, 401)
        self.assertEqual(self.call_twenty_times(), [401] * 20)
        self.assertEqual(self.ended, ["refused"])
        self.assertFalse(self.session.is_signed_in)
        refreshes = self.server.count("/auth/refresh")
        self.assertEqual(self.status(), 401)
        self.assertEqual(self.server.count("/auth/refresh"), refreshes)

    def test_twenty_concurrent_calls_share_a_refresh_that_fails(self):
        waiting = threading.Semaphore(0)

        class Waited(session.Future):
            def result(self, timeout=None):
                # Only the other calls wait for the shared refresh without a timeout.
                if timeout is None:
                    waiting.release()
                return super().result(timeout)

        def observe(path):
            if path == "/auth/refresh" and self.server.count(path) == 1:
                self.assertTrue(all(waiting.acquire(timeout=2) for _ in range(19)))

        def call(_):
            try:
                return self.session.http.get("/auth/protected").status_code
            except httpx.HTTPStatusError as error:
                return error.response.status_code

        self.server.observe = observe
        for status, code, refreshes, ended in [(503, "unavailable", 2, []), (401, "invalid_token", 1, ["refused"])]:
            with self.subTest(status), mock.patch.object(session, "Future", Waited), ThreadPoolExecutor(20) as pool:
                self.server.received.clear()
                self.server.expire()
                self.server.refresh_status, self.server.refresh_code = status, code
                self.assertEqual(list(pool.map(call, range(20))), [status] * 20)
                self.assertEqual(self.server.count("/auth/refresh"), refreshes)
                self.assertEqual(self.ended, ended)

    def test_a_successful_refresh_without_tokens_is_not_the_response_to_the_request(self):
        def answer(request):
            if request.url.path == "/auth/login":
                return httpx.Response(200, json={"access_token": "access", "refresh_token": refresh_token(0)})
            if request.url.path == "/auth/refresh":
                return httpx.Response(200, content=body)
            return httpx.Response(401, json={"code": "invalid_token"})

        opened = self.open(transport=httpx.MockTransport(answer))
        for body in (b"{}", b'{"access_token":"access"}', b"<h1>Maintenance</h1>", b"null", b""):
            with self.subTest(body):
                with self.assertRaisesRegex(httpx.DecodingError, "contains no tokens"):
                    self.status(opened)
                self.assertTrue(opened.is_signed_in)
                self.assertEqual(self.ended, [])

    def test_a_refused_refresh_ends_the_session_and_notifies_the_app_even_before_a_step_up(self):
        self.server.expire()
        self.server.refresh_status, self.server.refresh_code = 401, "invalid_token"
        response = step_up.sync_detailed(client=self.session.client, body=StepUp(password="…"))
        self.assertEqual(response.status_code, 401)
        self.assertEqual(self.ended, ["refused"])
        self.assertFalse(self.session.is_signed_in)

    def test_other_refusals_cause_no_refresh_and_no_repetition(self):
        for number, (status, code) in enumerate(
            [
                (403, "insufficient_role"),
                (403, "wrong_password"),
                (401, "missing_token"),
                (401, "invalid_credentials"),
                (401, "insufficient_user_authentication"),
            ],
            start=1,
        ):
            with self.subTest(code):
                self.server.answers.append((status, code))
                self.assertEqual(self.session.http.get("/auth/protected").status_code, status)
                self.assertEqual(self.server.count("/auth/refresh"), 0)
                self.assertEqual(self.server.count("/auth/protected"), number)

    def test_a_request_is_repeated_only_once(self):
        self.server.answers += [(401, "invalid_token"), (401, "invalid_token")]
        self.assertEqual(self.status(), 401)
        self.assertEqual(self.server.count("/auth/protected"), 2)
        self.assertEqual(self.server.count("/auth/refresh"), 1)
        self.assertEqual(self.ended, [])

    def test_a_repeated_request_has_its_body(self):
        self.server.expire()
        response = self.session.http.post("/api/notes", content="note")
        self.assertEqual(response.json(), {"message": "Hello, note!"})

    def test_a_repeated_request_has_its_body_even_if_it_can_be_read_only_once(self):
        parts = [b"no", b"te"]
        bodies = {"iterator": iter(parts), "generator": (part for part in parts), "file": io.BytesIO(b"note")}
        for name, body in bodies.items():
            with self.subTest(name):
                self.server.expire()
                response = self.session.http.post("/api/notes", content=body)
                self.assertEqual(response.json(), {"message": "Hello, note!"})

    def test_an_outage_during_a_refresh_does_not_end_the_session(self):
        self.server.expire()
        self.server.refresh_status = 503
        with self.assertRaises(httpx.HTTPStatusError):
            self.status()
        self.assertEqual(self.server.count("/auth/refresh"), 2)
        self.server.refresh_status = None
        self.server.losses += ["reset", "reset"]
        with self.assertRaises(httpx.TransportError):
            self.status()
        self.assertEqual(self.status(), 200)
        self.assertEqual(self.ended, [])

    def test_no_other_server_gets_the_token(self):
        other = FakeServer()
        self.addCleanup(other.stop)
        self.assertEqual(self.session.http.get(f"{other.url}/auth/protected").status_code, 401)
        self.assertEqual(other.received, [("/auth/protected", None, "")])

    def test_the_callers_own_authorization_header_is_sent_unchanged(self):
        response = self.session.http.get("/auth/protected", headers={"Authorization": "Bearer other"})
        self.assertEqual(response.status_code, 401)
        self.assertEqual(self.server.received[-1][1], "Bearer other")
        self.assertEqual(self.server.count("/auth/refresh"), 0)

    def test_a_step_up_replaces_the_token_after_a_refresh_if_necessary(self):
        before = self.storage.load()
        self.server.expire()
        response = step_up.sync_detailed(client=self.session.client, body=StepUp(password="…"))
        self.assertEqual(response.status_code, 200)
        self.assertNotEqual(self.storage.load().access_token, before.access_token)
        requests = len(self.server.received)
        self.assertEqual(self.status(), 200)
        self.assertEqual(len(self.server.received), requests + 1)

    def test_a_login_sends_no_token(self):
        self.session.http.post("/auth/login", json=CREDENTIALS)
        self.assertEqual(self.server.received[-1][1], None)

    def test_a_logout_removes_the_tokens_and_notifies_the_app(self):
        self.assertEqual(logout.sync_detailed(client=self.session.client).status_code, 204)
        self.assertFalse(self.session.is_signed_in)
        self.assertEqual(self.ended, ["logout"])
        self.assertEqual(logout.sync_detailed(client=self.session.client).status_code, 401)
        self.assertEqual(self.ended, ["logout"])

    def test_a_failed_logout_keeps_the_tokens(self):
        self.server.answers.append((503, "unavailable"))
        self.assertEqual(logout.sync_detailed(client=self.session.client).status_code, 503)
        self.assertTrue(self.session.is_signed_in)
        self.assertEqual(self.ended, [])

    def test_a_response_of_the_gateway_or_a_proxy_is_an_unexpected_status(self):
        # Python has no names for some statuses of proxies.
        for status in (404, 413, 429, 460, 499, 500, 503, 520, 561):
            with self.subTest(status):
                body = CredentialsByUsername("testuser", "…")
                self.server.answers.append((status, None))
                with self.assertRaises(UnexpectedStatus) as raised:
                    login.sync(client=self.session.client, body=body)
                self.assertEqual(raised.exception.status_code, status)
                self.server.answers.append((status, None))
                with Client(base_url=self.server.url) as client:
                    response = login.sync_detailed(client=client, body=body)
                self.assertEqual((response.status_code, response.parsed), (status, None))

    def test_a_refresh_works_where_no_thread_can_start(self):
        self.server.expire()
        with mock.patch.object(session, "threading") as threading:
            threading.Thread.return_value.start.side_effect = RuntimeError
            self.assertEqual(self.status(), 200)

    def test_event_hooks_receive_no_refresh(self):
        paths = []
        hooks = {"request": [lambda request: paths.append(request.url.path)]}
        opened = self.open(event_hooks=hooks)
        self.server.expire()
        self.assertEqual(self.status(opened), 200)
        self.assertEqual(paths, ["/auth/login", "/auth/protected", "/auth/protected"])
        self.assertEqual(self.server.count("/auth/refresh"), 1)

    def test_a_failed_request_releases_the_lock(self):
        self.server.expire()
        self.server.losses += ["reset", "reset"]
        with self.assertRaises(httpx.TransportError):
            logout.sync_detailed(client=self.session.client)
        self.session.forget()
        self.assertFalse(self.session.is_signed_in)

    def test_coroutines_are_refused_with_the_reason(self):
        with self.assertRaisesRegex(RuntimeError, "asyncio.to_thread"):
            asyncio.run(protected.asyncio(client=self.session.client))

    def test_no_token_is_printed(self):
        tokens = self.storage.load()
        self.assertNotIn(tokens.refresh_token, repr(tokens))
        self.assertNotIn(tokens.access_token, repr(tokens))

    def test_no_response_or_client_prints_a_token(self):
        response = login.sync_detailed(client=self.session.client, body=CredentialsByUsername("testuser", "…"))
        self.assertIn(self.storage.load().access_token, response.content.decode())
        self.assertNotIn(self.storage.load().access_token, repr(response))
        self.assertNotIn(self.storage.load().refresh_token, repr(response))
        options = {"headers": {"A": "secret"}, "cookies": {"B": "secret"}, "httpx_args": {"params": {"C": "secret"}}}
        client = AuthenticatedClient(self.server.url, "secret", **options)
        client.get_httpx_client().close()
        self.assertNotIn("secret", repr(client))

    def test_no_model_prints_a_secret(self):
        self.assertNotIn("secret", repr(models.CredentialsByUsername("testuser", "secret")))
        self.assertNotIn("secret", repr(models.Registration("testuser", "secret", invite_code="secret")))
        fields = {
            f"{name}.{member.name}": member.repr
            for name, model in vars(models).items()
            if attrs.has(model)
            for member in attrs.fields(model)
            if re.search("(password|token|code|secret)$", member.name) and re.search(r"\bstr\b", member.type)
        }
        self.assertIn("Tokens.refresh_token", fields)
        self.assertEqual([name for name, printed in fields.items() if printed], [])

    def test_the_paths_that_issue_or_remove_tokens_are_those_of_the_api(self):
        """The generated function of such a path returns `Tokens` for 200."""
        folder = Path(find_spec("latchkey_client.generated").origin).parent / "api"
        texts = [path.read_text() for path in folder.rglob("*.py")]
        functions = {text.split('"url": "')[1].split('"')[0]: text for text in texts if '"url": "' in text}
        issuing = {path for path, text in functions.items() if "response_200 = Tokens.from_dict" in text}
        self.assertEqual(issuing, session._ISSUES)
        self.assertLessEqual(session._ENDS, functions.keys())


if __name__ == "__main__":
    unittest.main()
