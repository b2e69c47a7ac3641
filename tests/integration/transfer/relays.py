"""A relay of a board in this process, and neighbours who ask it by plain sockets."""

import hashlib
import socket
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from boardwright.cli.enrolling import write_private
from boardwright.model.software import PIECE_SIZE, BlobRef, Target
from boardwright.transfer.relay import Relay
from boardwright.transfer.shelf import Shelf
from boardwright.transfer.store import BlobStore
from boardwright.trust.credentials import Credentials
from boardwright.trust.issuing import certificate_pem, key_pem
from boardwright.trust.lines import client_context
from boardwright.trust.neighbour_door import NeighbourDoor
from tests.tls import LAB
from tests.unit.transfer.blobs import blob_of, some_bytes

DATA = some_bytes(3 * PIECE_SIZE + 777)
BLOB = blob_of(DATA)
SMALL = some_bytes(1000, seed=1)
PACK = blob_of(SMALL)
TARGET = Target("os", "1.0", "*", hashlib.sha256(b"a manifest").hexdigest())
ALL = b"\x1f"  # four pieces of BLOB and one of PACK


def files_of(who: Credentials, folder: Path) -> tuple[Path, Path]:
    """The certificate's and the key's file."""
    certificate, key = folder / f"{who.identity.id}.pem", folder / f"{who.identity.id}.key"
    certificate.write_bytes(b"".join(map(certificate_pem, who.chain)))
    write_private(key, key_pem(who.key))
    return certificate, key


def door_of(who: Credentials, **options: Any) -> NeighbourDoor:
    with tempfile.TemporaryDirectory() as folder:
        return NeighbourDoor(who, *files_of(who, Path(folder)), **options)


class Running:
    """A relay with what of a version is verified: the pieces in `have`."""

    def __init__(self, root: Path, have: bytes = ALL, door: NeighbourDoor | None = None, **options: Any) -> None:
        self.store = BlobStore(root)
        self.have = have
        with self.store.partial(BLOB) as partial:
            for index in range(4):
                if have[0] >> index & 1:
                    start, length = BLOB.piece_span(index)
                    assert partial.write(index, DATA[start : start + length])
        self.store.put(PACK.sha256, [SMALL])
        self.shelf = Shelf(self.store)
        self.shelf.begin(TARGET, (BLOB, PACK), lambda: self.have)
        self.relay = Relay(self.shelf, door or door_of(LAB.board("c1s3", slot="3")), ("127.0.0.1", 0), **options)

    def __enter__(self) -> Self:
        self.relay.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.relay.stop(20)


class Answer:
    """What came back."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.split(": ", 1) for line in lines)
        self.body = body


class Asker:
    """A neighbour's line to a relay."""

    def __init__(self, address: tuple[str, int], who: Credentials | None, **options: Any) -> None:
        context = client_context(LAB.authority)
        if who is not None:
            with tempfile.TemporaryDirectory() as folder:
                context.load_cert_chain(*files_of(who, Path(folder)))
        plain = socket.create_connection(address, timeout=20)
        self.line: ssl.SSLSocket = context.wrap_socket(plain, **options)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()

    def get(self, path: str, *headers: str) -> Answer:
        self.send(path, *headers)
        return self.answer()

    def span(self, blob: BlobRef, start: int, last: int, *headers: str) -> Answer:
        return self.get(f"/v1/blobs/{blob.sha256}", f"Range: bytes={start}-{last}", *headers)

    def send(self, path: str, *headers: str) -> None:
        self.line.sendall("\r\n".join((f"GET {path} HTTP/1.1", "Host: relay", *headers, "", "")).encode())

    def answer(self) -> Answer:
        """The next answer; EOFError if the line ends before it."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        answer = Answer(head, b"")
        length = int(answer.headers["Content-Length"])
        while len(self._rest) < length:
            self._more()
        answer.body, self._rest = self._rest[:length], self._rest[length:]
        return answer

    @property
    def ended(self) -> bool:
        """Whether the relay ends the line, sooner or later."""
        try:
            while self.line.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def _more(self) -> None:
        data = self.line.recv(65536)
        if not data:
            raise EOFError
        self._rest += data


def neighbours(count: int) -> Sequence[Credentials]:
    """Boards of the relay's chassis."""
    return [LAB.board(f"c1s{slot}", slot=str(slot)) for slot in range(4, 4 + count)]
