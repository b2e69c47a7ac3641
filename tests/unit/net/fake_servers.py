"""Servers made of http.server on loopback, whose answers a test decides."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from boardwright.trust.credentials import Credentials
from tests.tls import LAB, SERVER_SIDE, over_tls

Reply = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, bytes], Reply]  # method, path, body


class FakeServer:
    """One server; `asked` are the (method, path, body) that came."""

    def __init__(self, handler: Handler, context: ssl.SSLContext) -> None:
        self.handler = handler
        self.asked: list[tuple[str, str, bytes]] = []
        outer = self

        class Bridge(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.asked.append((self.command, self.path, body))
                status, headers, data = outer.handler(self.command, self.path, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _any  # noqa: N815 - the names that http.server looks for

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Bridge)
        self.base = over_tls(self._http, context)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@contextmanager
def fake_servers(*handlers: Handler, identity: Credentials | None = None) -> Iterator[list[FakeServer]]:
    """One for each handler, all with this certificate, else with one of the lab's."""
    context = SERVER_SIDE if identity is None else LAB.server_side(identity)
    servers = [FakeServer(handler, context) for handler in handlers]
    try:
        yield servers
    finally:
        for server in servers:
            server.stop()
