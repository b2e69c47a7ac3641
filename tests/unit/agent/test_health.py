"""Health checks: exit code, HTTP, TCP, each with its deadline."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from boardwright.agent.commands import TAIL
from boardwright.agent.health import Health, check_health
from boardwright.model.software import HealthSpec

ENV = {"PATH": "/usr/bin:/bin"}


def check(spec: HealthSpec | None, tree: Path) -> Health:
    return check_health(spec, tree, ENV, threading.Event())


def program(tree: Path, text: str) -> None:
    (tree / "bin").mkdir(exist_ok=True)
    (tree / "bin" / "probe").write_text(f"#!/bin/sh\n{text}\n")
    (tree / "bin" / "probe").chmod(0o755)


class TestACommand:
    def test_with_exit_code_0_is_healthy(self, tmp_path: Path) -> None:
        program(tmp_path, 'test "$1" = --version')
        assert check(HealthSpec(command=("bin/probe", "--version")), tmp_path) == Health()

    def test_with_another_exit_code_is_not_and_shows_its_last_words(self, tmp_path: Path) -> None:
        program(tmp_path, "echo table full; exit 7")
        health = check(HealthSpec(command=("bin/probe",)), tmp_path)
        assert health == Health("health check bin/probe ended with exit code 7", "table full\n")

    def test_that_hangs_is_ended_with_its_children_at_the_deadline(self, tmp_path: Path) -> None:
        program(tmp_path, "sleep 1000 & echo $! > child; wait")
        health = check(HealthSpec(command=("bin/probe",), timeout=0.5), tmp_path)
        assert health.reason == "health check bin/probe took longer than 0.5 s"
        child = (tmp_path / "child").read_text().strip()
        deadline = time.monotonic() + 5
        while _alive(child):
            assert time.monotonic() < deadline, "the child of the health check still runs"

    def test_that_talks_without_end_keeps_only_its_tail(self, tmp_path: Path) -> None:
        program(tmp_path, "head -c 300000 /dev/zero | tr '\\0' x; echo the end; exit 1")
        health = check(HealthSpec(command=("bin/probe",)), tmp_path)
        assert len(health.log) == TAIL
        assert health.log.endswith("the end\n")

    def test_that_leaves_a_daemon_behind_does_not_wait_for_it(self, tmp_path: Path) -> None:
        program(tmp_path, "sleep 20 & echo $! > child; exit 0")
        begun = time.monotonic()
        assert check(HealthSpec(command=("bin/probe",)), tmp_path) == Health()
        assert time.monotonic() - begun < 10

    def test_that_is_a_bare_word_is_found_in_the_path(self, tmp_path: Path) -> None:
        assert check(HealthSpec(command=("true",)), tmp_path) == Health()

    def test_with_an_absolute_path_is_the_boards_own(self, tmp_path: Path) -> None:
        assert check(HealthSpec(command=("/bin/true",)), tmp_path) == Health()
        assert "exit code 1" in check(HealthSpec(command=("/bin/false",)), tmp_path).reason

    @pytest.mark.parametrize("path", ["/../bin/true", "../probe"])
    def test_outside_of_the_version_is_refused(self, tmp_path: Path, path: str) -> None:
        assert "not a path in the version" in check(HealthSpec(command=(path,)), tmp_path).reason

    def test_ends_when_the_agent_ends(self, tmp_path: Path) -> None:
        program(tmp_path, "sleep 1000")
        stop = threading.Event()
        stop.set()
        health = check_health(HealthSpec(command=("bin/probe",), timeout=100), tmp_path, ENV, stop)
        assert health.reason == "health check bin/probe was stopped"


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def http_server(*statuses: int) -> Iterator[str]:
    """Answers with one status after the other, the last one for ever."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/health"
        finally:
            server.shutdown()
            thread.join()


class TestHttp:
    def test_with_2xx_is_healthy(self, tmp_path: Path) -> None:
        with http_server(204) as url:
            assert check(HealthSpec(http=url), tmp_path) == Health()

    def test_is_tried_again_until_it_is_healthy(self, tmp_path: Path) -> None:
        with http_server(503, 503, 200) as url:
            assert check(HealthSpec(http=url), tmp_path) == Health()

    @pytest.mark.parametrize("status", [302, 404, 500])
    def test_with_another_status_until_the_deadline_is_not(self, tmp_path: Path, status: int) -> None:
        with http_server(status) as url:
            health = check(HealthSpec(http=url, timeout=0.3), tmp_path)
        assert health.reason == f"health check {url} answered {status}"

    def test_that_nobody_answers_says_so(self, tmp_path: Path) -> None:
        health = check(HealthSpec(http=f"http://127.0.0.1:{_free_port()}/", timeout=0.3), tmp_path)
        assert "Connection refused" in health.reason

    def test_that_is_no_url_is_not_healthy(self, tmp_path: Path) -> None:
        assert check(HealthSpec(http="gopher://x", timeout=0.1), tmp_path).reason


@contextmanager
def server_that(answers: Callable[[socket.socket], None]) -> Iterator[int]:
    """Takes connections and deals with each as `answers` does; yields the port."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                answers(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def endlessly(first: bytes, again: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(again)
            time.sleep(pause)

    return answer


class TestAServiceThatMisbehaves:
    """The deadline bounds the whole check, whatever a service sends."""

    @pytest.mark.parametrize(
        ("first", "again", "pause"),
        [
            (b"", b"H", 0.02),
            (b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.02),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02),
        ],
    )
    def test_by_sending_byte_after_byte(self, tmp_path: Path, first: bytes, again: bytes, pause: float) -> None:
        begun = time.monotonic()
        with server_that(endlessly(first, again, pause)) as port:
            health = check(HealthSpec(http=f"http://127.0.0.1:{port}/", timeout=0.5), tmp_path)
        assert health.reason == f"health check http://127.0.0.1:{port}/ failed: Connection timed out"
        assert time.monotonic() - begun < 10

    @pytest.mark.parametrize("again", [b"X: y\r\n", b"x" * 4096])
    def test_by_headers_without_end(self, tmp_path: Path, again: bytes) -> None:
        begun = time.monotonic()
        with server_that(endlessly(b"HTTP/1.1 200 OK\r\n", again)) as port:
            assert check(HealthSpec(http=f"http://127.0.0.1:{port}/", timeout=0.5), tmp_path).reason
        assert time.monotonic() - begun < 10

    def test_by_a_body_without_end_is_healthy_by_its_status(self, tmp_path: Path) -> None:
        with server_that(endlessly(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)) as port:
            assert check(HealthSpec(http=f"http://127.0.0.1:{port}/", timeout=5.0), tmp_path) == Health()

    def test_by_speaking_no_http_is_quoted_without_its_controls(self, tmp_path: Path) -> None:
        with server_that(lambda connection: connection.sendall(b"SSH-2.0 \x1b[2J\r\n")) as port:
            health = check(HealthSpec(http=f"http://127.0.0.1:{port}/", timeout=0.3), tmp_path)
        assert health.reason.rstrip().endswith("failed: SSH-2.0")

    def test_by_saying_nothing(self, tmp_path: Path) -> None:
        with server_that(lambda connection: time.sleep(1.0)) as port:
            health = check(HealthSpec(http=f"http://127.0.0.1:{port}/", timeout=0.4), tmp_path)
        # the kernel's words or the socket's: whichever timer was first
        assert health.reason.endswith("timed out")

    def test_with_a_certificate_of_its_own_is_healthy(self, tmp_path: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(__file__).with_name("self_signed.pem"))

        def answer(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(4096)
                secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        with server_that(answer) as port:
            assert check(HealthSpec(http=f"https://127.0.0.1:{port}/", timeout=5.0), tmp_path) == Health()

    def test_by_speaking_no_tls(self, tmp_path: Path) -> None:
        with server_that(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")) as port:
            health = check(HealthSpec(http=f"https://127.0.0.1:{port}/", timeout=0.4), tmp_path)
        assert "failed: TLS: " in health.reason


class TestTcp:
    def test_that_accepts_and_resets_is_healthy_because_it_accepts(self, tmp_path: Path) -> None:
        def reset(connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        with server_that(reset) as port:
            assert check(HealthSpec(tcp=f"127.0.0.1:{port}"), tmp_path) == Health()

    def test_that_accepts_is_healthy(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert check(HealthSpec(tcp=f"127.0.0.1:{server.getsockname()[1]}"), tmp_path) == Health()

    def test_that_does_not_is_not(self, tmp_path: Path) -> None:
        address = f"127.0.0.1:{_free_port()}"
        health = check(HealthSpec(tcp=address, timeout=0.3), tmp_path)
        assert health.reason == f"health check of {address} failed: Connection refused"

    @pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:port", "127.0.0.1:99999"])
    def test_that_is_no_address_is_not(self, tmp_path: Path, address: str) -> None:
        assert check(HealthSpec(tcp=address, timeout=0.1), tmp_path).reason


def test_a_version_without_a_health_check_is_healthy(tmp_path: Path) -> None:
    assert check(None, tmp_path) == Health()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
