"""Programs for the tests: a blob service and a fetcher as processes, so that they can be killed and stopped.

``python -m tests.integration.transfer.programs serve STORE FOLDER`` prints its URL and ends with its standard input;
``... fetch STORE BLOB-FILE URL FOLDER`` fetches the blob that BLOB-FILE describes (msgpack), printing the bytes so far.
FOLDER has a certificate, its key, and what is trusted.
"""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from boardwright.model.software import BlobRef
from boardwright.server.callers import Callers
from boardwright.transfer.fetch import FetchLimits, fetch
from boardwright.transfer.http_source import HttpSource
from boardwright.transfer.listen import KeyFiles, Listener
from boardwright.transfer.serve import BlobService
from boardwright.transfer.sources import SourceList
from boardwright.transfer.store import BlobStore
from boardwright.trust.credentials import CERTIFICATE, KEY, load_credentials
from boardwright.trust.lines import lines_of


async def serve(root: Path, folder: Path) -> None:
    keys = KeyFiles(folder / CERTIFICATE, folder / KEY)
    callers = Callers(load_credentials(keys.certificate, keys.key, folder / "trust", "lab"))
    listener = Listener(BlobService(BlobStore(root), 64, callers), ("127.0.0.1", 0), "rsgi", root / "locks", keys)
    await listener.start()
    sys.stdout.write(f"{listener.url}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await listener.stop()


class Printer:
    """Says how many bytes have come."""

    def __init__(self) -> None:
        self._count = 0

    def on_bytes(self, source_id: str, count: int) -> None:
        self._count += count
        sys.stdout.write(f"{self._count}\n")
        sys.stdout.flush()

    def on_failover(self, source_id: str, reason: str) -> None:
        pass

    def on_wrong(self, source_id: str, sha256: str) -> None:
        pass


def run_fetch(root: Path, blob: Path, url: str, folder: Path) -> None:
    lines = lines_of(load_credentials(folder / CERTIFICATE, folder / KEY, folder / "trust", "lab"))
    ref = msgspec.msgpack.decode(blob.read_bytes(), type=BlobRef)
    sources = SourceList([HttpSource("s", url, lines)])
    fetch([ref], sources, BlobStore(root), limits=FetchLimits(rate=64 << 20), observer=Printer())


class Program:
    """A running process of this module; `line` is the next line that it printed."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", __spec__.name, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, f"{self.process.args!r} ended"
        return line

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self.process.wait(timeout=10)


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[Program]:
    """Run this module; whatever happened to the process, it is gone afterwards."""
    running = Program(*arguments)
    try:
        yield running
    finally:
        running.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(Path(sys.argv[2]), Path(sys.argv[3])))
    else:
        run_fetch(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
