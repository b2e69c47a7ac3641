"""A blob service in a process of its own: ``python -m bench._blob_server STORE``; prints its URL, ends with stdin."""

import asyncio
import sys
from pathlib import Path

from boardwright.transfer.listen import Listener
from boardwright.transfer.serve import BlobService
from boardwright.transfer.store import BlobStore


async def serve(root: Path) -> None:
    listener = Listener(BlobService(BlobStore(root), 64), ("127.0.0.1", 0), "rsgi", root / "locks")
    await listener.start()
    print(listener.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await listener.stop()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
