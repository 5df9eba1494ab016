"""A server of the chat protocol on 127.0.0.1 that misbehaves as it is told."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

KEY = 'sk-test-0123456789abcdef'


class Reply:
    """What to do with one request.

    Attributes:
      text: what the model says; None: no completion is sent.
      status: of the reply.
      body: bytes in place of a completion.
      headers: more of them.
      cut: the connection is cut so many bytes into the body.
      pause: seconds before anything is sent.
    """

    def __init__(self, text: str | None = '50', status: int = 200, body: bytes | None = None,
                 headers: dict[str, str] | None = None, cut: int | None = None,
                 pause: float = 0.0):
        self.text, self.status, self.body = text, status, body
        self.headers, self.cut, self.pause = headers or {}, cut, pause


class Server(http.server.ThreadingHTTPServer):
    """Keeps what it was asked; `answer(number, request)` says what to do with each request."""

    daemon_threads = True
    answer: Callable[[int, dict[str, Any]], Reply]

    def __init__(self, answer):
        super().__init__(('127.0.0.1', 0), Handler)
        self.answer, self.asked, self.keys, self.lock = answer, [], [], threading.Lock()

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_address[1]}/v1'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(request)
            self.server.keys.append(self.headers['Authorization'])
        reply = self.server.answer(number, request)
        time.sleep(reply.pause)
        body = completion(reply.text) if reply.body is None else reply.body
        with contextlib.suppress(OSError):  # the client may be gone
            self.send_response(reply.status)
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(body)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[:reply.cut])
            if reply.cut is not None:
                self.close_connection = True


def completion(text: str | None) -> bytes:
    """A chat completion that says `text`."""
    return json.dumps({
        'id': 'x', 'object': 'chat.completion', 'created': 0, 'model': 'm',
        'choices': [{'index': 0, 'finish_reason': 'stop',
                     'message': {'role': 'assistant', 'content': text}}],
        'usage': {'prompt_tokens': 100, 'completion_tokens': 2, 'total_tokens': 102}}).encode()


def error(message: str, **more: Any) -> bytes:
    """An error's body."""
    return json.dumps({'error': {'message': message, **more}}).encode()


@contextlib.contextmanager
def serving(answer: Callable[[int, dict[str, Any]], Reply]) -> Iterator[Server]:
    """A server in a thread; it is gone at the end."""
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
