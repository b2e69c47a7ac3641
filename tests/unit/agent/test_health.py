"""Health checks: exit code, HTTP, TCP, each with its deadline."""

import socket
import threading
import time
from collections.abc import Iterator
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


class TestTcp:
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
