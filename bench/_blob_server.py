"""A blob service in a process of its own: ``python -m bench._blob_server STORE FOLDER``.

It bears the identity in FOLDER, prints its URL and ends with its standard input.
"""

import asyncio
import sys
from pathlib import Path

from boardwright.server.callers import Callers
from boardwright.transfer.listen import KeyFiles, Listener
from boardwright.transfer.serve import BlobService
from boardwright.transfer.store import BlobStore
from boardwright.trust.credentials import CERTIFICATE, KEY, load_credentials


async def serve(root: Path, folder: Path) -> None:
    keys = KeyFiles(folder / CERTIFICATE, folder / KEY)
    callers = Callers(load_credentials(keys.certificate, keys.key, folder / "trust", "bench"))
    listener = Listener(BlobService(BlobStore(root), 64, callers), ("127.0.0.1", 0), "rsgi", root / "locks", keys)
    await listener.start()
    print(listener.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await listener.stop()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
