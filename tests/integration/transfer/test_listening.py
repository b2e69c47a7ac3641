"""One program per port: a second one is refused, a crash leaves no obstacle, and signals stay with the program."""

import asyncio
import http.client
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from boardwright.errors import FailedError, RefusedError
from boardwright.transfer.listen import Listener
from boardwright.transfer.serve import BlobService
from boardwright.transfer.store import BlobStore
from boardwright.trust.lines import client_context
from tests.integration.transfer.programs import program
from tests.tls import LAB


@pytest.fixture
def listener(tmp_path: Path) -> Callable[..., Listener]:
    def make(port: int = 0, host: str = "127.0.0.1", locks: str = "locks") -> Listener:
        blobs = BlobService(BlobStore(tmp_path / "store"), 4, LAB.callers())
        return Listener(blobs, (host, port), "rsgi", tmp_path / locks, LAB.keys(tmp_path / "identity"))

    return make


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def status(address: tuple[str, int]) -> int:
    def ask() -> int:
        connection = http.client.HTTPSConnection(*address, timeout=5, context=client_context(LAB.authority))
        try:
            connection.request("GET", "/v1/blobs/" + "0" * 64)
            return connection.getresponse().status
        finally:
            connection.close()

    return await asyncio.to_thread(ask)


def test_it_answers_from_start_to_stop(listener: Callable[..., Listener]) -> None:
    async def test() -> None:
        one = listener()
        await one.start()
        assert await status(one.address) == 401
        await one.stop()
        with pytest.raises(OSError, match="refused"):
            await status(one.address)
        again = listener(one.address[1])
        await again.start()
        assert await status(again.address) == 401
        await again.stop()

    run(test)


@pytest.mark.parametrize("locks", ["locks", "other-locks"])
def test_two_on_one_port_are_refused(listener: Callable[..., Listener], locks: str) -> None:
    async def test() -> None:
        one = listener()
        await one.start()
        try:
            with pytest.raises(RefusedError, match=f"127.0.0.1 port {one.address[1]}"):
                await listener(one.address[1], locks=locks).start()
            assert await status(one.address) == 401
        finally:
            await one.stop()

    run(test)


def test_two_that_start_at_the_same_moment_do_not_both_start(listener: Callable[..., Listener]) -> None:
    async def test() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        both = [listener(port), listener(port)]
        outcomes = await asyncio.gather(*(one.start() for one in both), return_exceptions=True)
        for one in both:
            await one.stop()
        assert sorted(type(outcome) for outcome in outcomes if outcome is not None) == [RefusedError]

    run(test)


def test_a_port_that_any_program_holds_is_refused(listener: Callable[..., Listener]) -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
            with pytest.raises(RefusedError, match="in use"):
                await listener(other.getsockname()[1]).start()

    run(test)


def test_two_addresses_of_one_host_are_two_places(listener: Callable[..., Listener]) -> None:
    async def test() -> None:
        one = listener(host="127.77.1.1")
        await one.start()
        other = listener(one.address[1], host="127.77.1.2")
        await other.start()
        assert await status(other.address) == 401
        await one.stop()
        await other.stop()

    run(test)


def test_an_address_that_is_not_ours_is_said(listener: Callable[..., Listener]) -> None:
    async def test() -> None:
        with pytest.raises(FailedError, match=r"192\.0\.2\.1 port 7"):
            await listener(7, host="192.0.2.1").start()

    run(test)


def test_a_lock_left_by_a_killed_program_is_no_obstacle(tmp_path: Path) -> None:
    LAB.keys(tmp_path / "identity")
    with program("serve", str(tmp_path), str(tmp_path / "identity")) as killed:
        port = int(killed.line().rpartition(":")[2])
        killed.send(signal.SIGKILL)
        killed.process.wait(10)

    async def test() -> None:
        blobs, keys = BlobService(BlobStore(tmp_path), 4, LAB.callers()), LAB.keys(tmp_path / "identity")
        again = Listener(blobs, ("127.0.0.1", port), "rsgi", tmp_path / "locks", keys)
        await again.start()
        await again.stop()

    run(test)


def test_signals_stay_with_the_program(listener: Callable[..., Listener]) -> None:
    async def test() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        one = listener()
        await one.start()
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
        await one.stop()

    run(test)


def test_an_asgi_application_is_served_as_well(tmp_path: Path) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def test() -> None:
        one = Listener(app, ("127.0.0.1", 0), "asgi", tmp_path, LAB.keys(tmp_path))
        await one.start()
        assert await status(one.address) == 299
        await one.stop()

    run(test)
