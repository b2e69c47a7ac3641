"""A board's download in a process of its own: ``python -m bench._fetcher``.

One JSON job a line, one JSON answer a line. A job: manifest (file), store (directory), urls (list), tree (directory or
null), durable, folder (whose certificate the board bears), and optionally hit = [pid, signal, bytes]: send that signal
to that process after so many bytes.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

from boardwright.model.software import decode_manifest
from boardwright.transfer import tree
from boardwright.transfer.fetch import FetchLimits, fetch
from boardwright.transfer.http_source import HttpSource
from boardwright.transfer.sources import SourceList
from boardwright.transfer.store import BlobStore
from boardwright.trust.credentials import CERTIFICATE, KEY, Credentials, load_credentials
from boardwright.trust.lines import lines_of


class Hitter:
    """Counts bytes, and hits a server in mid-download."""

    def __init__(self, hit: list[int] | None) -> None:
        self._lock = threading.Lock()
        self._hit = hit
        self._count = 0

    def on_bytes(self, source_id: str, count: int) -> None:
        with self._lock:
            self._count += count
            if self._hit and self._count >= self._hit[2]:
                os.kill(self._hit[0], self._hit[1])
                self._hit = None

    def on_failover(self, source_id: str, reason: str) -> None:
        pass


def peak() -> int:
    """Peak resident size of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def identity(folder: Path) -> Credentials:
    return load_credentials(folder / CERTIFICATE, folder / KEY, folder / "trust", "bench")


def run(job: dict[str, Any]) -> dict[str, Any]:
    manifest = decode_manifest(Path(job["manifest"]).read_bytes())
    begun = time.perf_counter()
    store = BlobStore(Path(job["store"]))
    lines = lines_of(identity(Path(job["folder"])))
    sources = SourceList([HttpSource(f"s{index}", url, lines) for index, url in enumerate(job["urls"])])
    limits = FetchLimits(durable=job["durable"] and not job["tree"])
    result = fetch(manifest.blobs, sources, store, limits=limits, observer=Hitter(job.get("hit")))
    fetched = time.perf_counter() - begun
    if job["tree"]:
        if job["durable"]:
            tree.build_tree(manifest, store, Path(job["tree"]))
        else:  # to compare with tar, which syncs nothing either
            with mock.patch.object(tree, "sync_file_system"), mock.patch.object(tree, "sync_directory"):
                tree.build_tree(manifest, store, Path(job["tree"]))
    seconds = time.perf_counter() - begun
    sources.close()
    if not result.complete:
        raise RuntimeError("the fetch is not complete")
    return {
        "seconds": seconds,
        "fetched": fetched,
        "peak": peak(),
        "failovers": result.failovers,
        "refetched": result.refetched,
        "received": sum(result.bytes.values()),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
