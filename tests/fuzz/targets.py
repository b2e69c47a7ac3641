"""What is fuzzed: a function of bytes, which may raise only the errors that are declared here.

``test_targets.py`` feeds them by hypothesis in every test run, ``soak.py`` by atheris for as long as one likes.
"""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from boardwright.cli import audit_reading
from boardwright.config import load_agent, load_inventory, load_operator, load_server
from boardwright.errors import BoardwrightError, MalformedError, UsageError
from boardwright.model.admission import ClusterAuthority, JoinAnswer, Joining
from boardwright.model.api import DeploymentRequest
from boardwright.model.audit import AuditPage, Head
from boardwright.model.location import Location
from boardwright.model.plan import BoardPlan
from boardwright.model.report import BoardReport
from boardwright.model.software import check_manifest, decode_manifest, encode_manifest
from boardwright.protocol.codec import Received, decode, encode_announcement, encode_offers, encode_request
from boardwright.protocol.messages import MAX_DATAGRAM, Announcement, Offer
from boardwright.sim.seal import SimSeal
from boardwright.transfer.options import SoftwareOptions, read_options
from boardwright.transfer.pack import pack
from boardwright.transfer.relay_line import BadRequestError, read_head
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import identity_of, read_certificate, read_uri
from boardwright.trust.joining import check_proof, read_public_key, read_token
from boardwright.trust.revocation import read_revocations
from boardwright.trust.sessions import Sessions
from tests.identities import Identities

SEAL = SimSeal("c1s1", Location("1", "1"))


def manifest(data: bytes) -> None:
    """What is taken is whole, and means the same when it is written again."""
    with contextlib.suppress(MalformedError):
        found = decode_manifest(data)
        check_manifest(found)
        assert decode_manifest(encode_manifest(found)) == found


def relay_request(data: bytes) -> None:
    """What a neighbour says to a relay is a request without a body, or refused."""
    with contextlib.suppress(BadRequestError):
        found = read_head(data)
        assert found.method.isupper()
        assert found.path.startswith("/")
        assert found.headers.get("content-length", "0") == "0"


def codec(data: bytes) -> None:
    """What is not taken is a named value: ``decode`` raises nothing at all. What is taken can be sent again."""
    body = b"\xc5" + len(data).to_bytes(2, "big") + data
    for one in (data, *(b"\x95\x01" + kind + body + b"\xc4\0\xc4\0" for kind in (b"\x01", b"\x02", b"\x03"))):
        received = decode(one, "core1")
        if isinstance(received, Received):
            message = received.message
            if isinstance(message, Announcement):
                again = encode_announcement(message, SEAL)
            elif isinstance(message, Offer):
                again = encode_offers(message, SEAL, 2 * MAX_DATAGRAM)[0]
            else:
                again = encode_request(msgspec.structs.replace(message, groups=message.groups[:1]))
            assert isinstance(decode(again, "core1"), Received)


def bodies(data: bytes) -> None:
    """The JSON that servers and boards send each other."""
    for kind in (BoardPlan, BoardReport, DeploymentRequest, Joining, JoinAnswer, ClusterAuthority):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            msgspec.json.decode(data, type=kind)


def settings(data: bytes) -> None:
    """The same bytes as every configuration file."""
    with tempfile.TemporaryDirectory(prefix="boardwright-fuzz-") as place:
        file = Path(place) / "operator.toml"
        file.write_bytes(data)
        for read in (load_agent, load_server, load_inventory):
            _one_sentence(read, file)
        _one_sentence(load_operator, file.parent)
        _one_sentence(lambda path: read_options(str(path), data), file)
        assert [one.name for one in Path(place).iterdir()] == ["operator.toml"]


def _one_sentence(read: Callable[[Path], object], file: Path) -> None:
    try:
        read(file)
    except UsageError as error:
        said = str(error)
    else:
        return
    assert len(said) < 2000, "a sentence, not a document"
    assert str(file) in said, "a sentence names the file"


def archive(data: bytes) -> None:
    """What is taken passes the check of the boards; what is not leaves nothing but in the work directory."""
    with tempfile.TemporaryDirectory(prefix="boardwright-fuzz-") as place:
        file, work = Path(place) / "a.tar", Path(place) / "work"
        file.write_bytes(data)
        work.mkdir()
        with contextlib.suppress(UsageError):
            check_manifest(pack(file, SoftwareOptions(group="g", version="1"), workdir=work).manifest)
        assert sorted(one.name for one in Path(place).iterdir()) == ["a.tar", "work"]


_IDENTITIES = Identities("core1")
_SESSIONS = Sessions("c1s1", bytes(32))


def credentials(data: bytes) -> None:
    """What strangers prove themselves with: certificates, tokens, nonces; and lists of revoked keys."""
    text = data.decode("latin-1")
    authority, root = _IDENTITIES.authority, identity_of(read_certificate(_IDENTITIES.issuer.certificate))
    reads: tuple[Callable[[], object], ...] = (
        lambda: authority.verify(data),
        lambda: authority.verify(_IDENTITIES.issuer.certificate, enroller=data),
        lambda: identity_of(read_certificate(data)),
        lambda: read_uri(text),
        lambda: read_token(text),
        lambda: _SESSIONS.read(text, now=0.0),
        lambda: _SESSIONS.open(root, data, data, now=0.0),
        lambda: read_revocations(data, root),
        lambda: read_public_key(data),
        lambda: check_proof(Joining(text[:64], data, secret=data[:32], proof=data), "core1"),
    )
    for read in reads:
        with contextlib.suppress(UntrustedError, UsageError):
            read()


def audit(data: bytes) -> None:
    """What a server says of its copy of the audit log: read and followed, or refused."""
    lines = tuple(line.decode("utf-8", "replace") for line in data.split(b"\n"))
    ends = AuditPage("c1s1", data[0] if data else 0, Head(int.from_bytes(data[:9]), "ab" * 32))
    pages = [ends, *(msgspec.structs.replace(ends, records=lines[at:]) for at in range(len(lines)))]
    copies = audit_reading.Copies(
        lambda base, after, limit: pages[min(after, len(pages) - 1) if limit else 0], ["https://c1s1"]
    )
    with contextlib.suppress(BoardwrightError):
        found = audit_reading.read(copies, Head(2, "cd" * 32), lambda record: True, 50, everything=bool(data))
        assert len(found.shown) <= 50


TARGETS: dict[str, Callable[[bytes], None]] = {
    "manifest": manifest,
    "codec": codec,
    "relay": relay_request,
    "bodies": bodies,
    "settings": settings,
    "archive": archive,
    "credentials": credentials,
    "audit": audit,
}
