"""One session of a server that follows the refresh rules of Latchkey, with a clock that tests set."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GRACE_SECONDS = 10


def refresh_token(counter, account="testuser"):
    return f"v1.1.{account}.sid.{counter}.mac"


class FakeServer:
    def __init__(self):
        self.received = []
        """The paths, Authorization headers and bodies of all requests."""
        self.now = 1000
        self.losses = []
        """How the responses to the next refreshes are lost: "reset", "hang" or "drip". The server still refreshes."""
        self.answers = []
        """The status and code of the responses to the next requests that are not refreshes. A response without a code
        is one of the API gateway."""
        self.refresh_status = None
        """If set, the server performs no refresh, and responds to each with this status."""
        self.refresh_code = "unavailable"
        """The code of these responses."""
        self.location = ""
        """The target of responses with the status 307."""
        self.observe = lambda path: None
        """Called after each decision, before the response is sent."""
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._alive = False
        self._account = ""
        self._counter = 0
        self._rotations = []
        self._access = 0
        self._valid = ""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Send each response in one packet.
            wbufsize = -1

            def do_POST(self):
                fake._handle(self)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self):
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def expire(self):
        """Lets the access token expire."""
        self._valid = ""

    def count(self, path):
        return sum(received[0] == path for received in self.received)

    def _handle(self, handler):
        body = body_of(handler).decode()
        authorization = handler.headers.get("Authorization")
        with self._lock:
            self.received.append((handler.path, authorization, body))
            status, answer = self._answer(handler.path, authorization, body)
            loss = self.losses.pop(0) if handler.path == "/auth/refresh" and self.losses else None
        self.observe(handler.path)
        if loss:
            if loss == "hang":
                self._stopped.wait()
            if loss == "drip":
                self._drip(handler.wfile)
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        text = b"" if status == 204 else json.dumps(answer).encode()
        handler.send_response(status)
        kind = "problem+json" if answer and "code" in answer else "json"
        handler.send_header("Content-Type", f"application/{kind}")
        if status == 307:
            handler.send_header("Location", self.location)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def _drip(self, response):
        """Sends a byte of a response every 50 milliseconds, for five seconds."""
        response.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        for _ in range(100):
            try:
                response.write(b"x")
                response.flush()
            except OSError:
                return
            if self._stopped.wait(0.05):
                return

    def _answer(self, path, authorization, body):
        if path == "/auth/refresh":
            return self._refresh(json.loads(body)["refresh_token"])
        if self.answers:
            status, code = self.answers.pop(0)
            return status, problem(status, code) if code else {"message": "Too Many Requests"}
        if path == "/auth/login":
            self._alive, self._counter, self._rotations = True, 0, []
            self._account = json.loads(body)["username"]
            return 200, self._tokens()
        if not authorization:
            return 401, problem(401, "missing_token")
        if not self._alive or authorization != f"Bearer {self._valid}":
            return 401, problem(401, "invalid_token")
        if path == "/auth/step-up":
            return 200, self._tokens()
        if path == "/auth/logout":
            self._alive = False
            return 204, None
        return 200, {"message": f"Hello, {body or 'testuser'}!"}

    def _tokens(self):
        self._access += 1
        self._valid = f"access-{self._access}"
        return {
            "access_token": self._valid,
            "token_type": "Bearer",
            "expires_in": 900,
            "refresh_token": refresh_token(self._counter, self._account),
            "refresh_expires_in": 2592000,
        }

    def _refresh(self, token):
        if self.refresh_status:
            return self.refresh_status, problem(self.refresh_status, self.refresh_code)
        behind = self._counter - int(token.split(".")[4])
        last, before = (self._rotations + [None, None])[:2]

        def recent(rotation):
            return rotation is not None and self.now - rotation <= GRACE_SECONDS

        if self._alive and behind == 0 and not recent(last):
            self._counter += 1
            self._rotations.insert(0, self.now)
            return 200, self._tokens()
        current = behind == 0 or (behind == 1 and recent(last)) or (behind == 2 and recent(before))
        if self._alive and current:
            return 200, self._tokens()
        self._alive = False
        return 401, problem(401, "invalid_token")


def body_of(handler):
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def problem(status, code):
    return {"type": "about:blank", "title": "…", "status": status, "detail": "…", "code": code, "request_id": "1"}
