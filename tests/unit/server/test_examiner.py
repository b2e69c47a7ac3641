"""A server that examines itself: what hangs is left out and said, and asking often costs no more."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from boardwright.model.api import ServerStatus
from boardwright.model.diagnosis import CertificateFacts, Diagnosis, DiskFacts, EngineFacts, NetworkFacts, StoreFacts
from boardwright.model.location import Location
from boardwright.server import examiner as examining
from boardwright.server.examiner import Examiner
from boardwright.server.mirror import MirrorState

HERE = Location("1", "1")
STATUS = ServerStatus("c1s1", "1", "1", "active", "healthy", 3, 7, (), 0)


class OneServer(Examiner):
    """Its disk hangs until `end` if it `hangs`; the rest is as it is."""

    def __init__(self) -> None:
        settings = SimpleNamespace(
            id="c1s1",
            location=HERE,
            data_dir=Path("/data"),
            engine="memory:",
            store_quota=5,
            cluster=SimpleNamespace(name="lab"),
        )
        status = SimpleNamespace(
            mirror=SimpleNamespace(state=MirrorState(), revision=9),
            standing=SimpleNamespace(engine="", holder=lambda: None),
            alarms=SimpleNamespace(listing=tuple),
        )
        whole = _Callable(STATUS, status)
        holdings = SimpleNamespace(incomplete=list)
        made: list[Any] = [settings, None, whole, SimpleNamespace(holdings=holdings), None, None]
        super().__init__(*(cast(Any, part) for part in made))
        self.hangs, self.end, self.looked = False, threading.Event(), 0

    def _disk(self) -> DiskFacts:
        self.looked += 1
        if self.hangs:
            self.end.wait(30)
        return DiskFacts(path="/data", free=2, reserve=1)

    def _store(self) -> StoreFacts:
        return StoreFacts(used=1)

    def _engine(self) -> EngineFacts:
        return EngineFacts(kind="memory")

    def _certificate(self) -> CertificateFacts:
        return CertificateFacts(id="c1s1")

    def _expires(self) -> dict[str, float]:
        return {"root": 1.0}

    async def _network(self) -> NetworkFacts:
        await asyncio.sleep(0)
        return NetworkFacts()


class _Callable(SimpleNamespace):
    def __init__(self, answer: ServerStatus, parts: SimpleNamespace) -> None:
        super().__init__(**vars(parts))
        self._answer = answer

    def __call__(self) -> ServerStatus:
        return self._answer


@pytest.fixture
def server() -> Iterator[OneServer]:
    made = OneServer()
    yield made
    made.end.set()


def test_whoever_asks_meanwhile_gets_the_same_examination(server: OneServer) -> None:
    async def body() -> list[Diagnosis]:
        return await asyncio.gather(*(server.diagnosis() for _ in range(50)))

    found = asyncio.run(body())
    assert server.looked == 1
    assert all(one is found[0] for one in found)
    asyncio.run(server.diagnosis())
    assert server.looked == 2, "later it looks again"


def test_a_caller_who_goes_away_takes_the_examination_from_nobody(server: OneServer) -> None:
    async def body() -> Diagnosis:
        gone, stays = asyncio.ensure_future(server.diagnosis()), asyncio.ensure_future(server.diagnosis())
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(body()).server == "c1s1"


def test_a_disk_that_hangs_is_left_out_and_said(server: OneServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examining, "PATIENCE", 0.1)
    server.hangs = True

    async def body() -> Diagnosis:
        try:
            return await server.diagnosis()
        finally:
            server.end.set()

    found = asyncio.run(body())
    assert "no answer within" in found.disk.trouble
    assert (found.store.used, found.expires) == (1, {"root": 1.0})
