"""Fuzz targets of what is signed: metadata, parts of plans, packages, offers, sessions, requests to join.

As in ``targets``: functions of bytes, which may raise only the errors that are declared here. What nobody signed is
refused early, so ``metadata`` also takes what the right key has signed: a thief or a careless vendor may sign anything.
"""

import atexit
import contextlib
import functools
import io
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import urllib3
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from boardwright.errors import BoardwrightError, MalformedError, UsageError
from boardwright.model.admission import Joining
from boardwright.model.plan import Plan
from boardwright.model.sessions import NONCE_PATH, SESSION_PATH
from boardwright.model.software import Target
from boardwright.protocol.codec import Received, decode, encode_offers
from boardwright.protocol.messages import GroupOffer, Kind, Offer
from boardwright.protocol.sealing import statement
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import pack
from boardwright.transfer.package import check_blobs, read_package, write_package
from boardwright.trust.errors import UntrustedError
from boardwright.trust.fetching import MetadataFetcher
from boardwright.trust.identity import Role
from boardwright.trust.joining import proved
from boardwright.trust.names import PLANS, SNAPSHOT, TARGETS, TIMESTAMP, version_path
from boardwright.trust.offline import (
    RootKeys,
    add_version,
    delegated_groups,
    delegated_keys,
    read_role,
    read_signed_file,
    signed_by,
)
from boardwright.trust.online import SignedRoles
from boardwright.trust.shards import counted, read_shard, shard_of, shard_path, shards_of
from boardwright.trust.verifier import Verifier
from boardwright.trust.witness import Witness
from tests.fuzz.makers import good_tar
from tests.unit.server.joiners import CORE, SECRET, Gate, Someone, whom

IDENTITIES = CORE
NOW = 1.8e9
TARGET = Target("platform", "1", "*", "aa" * 32)
SOFTWARE = "software-platform"
ROLES = (TIMESTAMP, SNAPSHOT, TARGETS, PLANS, SOFTWARE)
NONCE = b"n" * 16


def good_roles() -> SignedRoles:
    """What a cluster with one version and one board gives out."""
    signed = IDENTITIES.with_version(IDENTITIES.first, TARGET)
    return signed.signed(shards_of(Plan(1, 0, (TARGET,), {"c1s9": (0,)})), IDENTITIES.signer, NOW)


GOOD = good_roles()
_SIGNERS = {TARGETS: IDENTITIES.operator, SOFTWARE: IDENTITIES.operator}


def good_role() -> bytes:
    """A vendor's role."""
    return GOOD.roles[SOFTWARE]


def role(data: bytes) -> None:
    """Signed metadata as a file, as a package's signature and as somebody sends it: one role or a set."""
    for read in (
        lambda: [read_role(data, kind) for kind in (Targets, Root, Snapshot, Timestamp)],
        lambda: RootKeys.of(data),
        lambda: delegated_keys(data, "platform"),
        lambda: delegated_groups(data),
        lambda: signed_by(data, IDENTITIES.operator.public_key),
        lambda: SignedRoles.of([data], {}),
        lambda: SignedRoles.of(GOOD.roots, {**GOOD.roles, SOFTWARE: data}),
        lambda: GOOD.with_targets(data),
        lambda: GOOD.with_software("platform", data),
        lambda: GOOD.with_root(data),
        lambda: add_version(data, TARGET, 1, IDENTITIES.operator, NOW),
    ):
        with contextlib.suppress(BoardwrightError):
            read()
    with tempfile.TemporaryDirectory(prefix="boardwright-fuzz-") as place:
        file = Path(place) / "software-platform.json"
        file.write_bytes(data)
        with contextlib.suppress(UsageError):
            read_signed_file(file)


def metadata(data: bytes) -> None:
    """A server's answers: the first byte says which role it lies about, with its own key's signature or the right one.

    Whatever the board hears, it raises only what sends it to the next server, and believes the good one after it.
    """
    name = ROLES[data[0] % len(ROLES)] if data else TIMESTAMP
    answer = _signed(name, data[1:]) if data[:1] >= b"\x80" else data[1:]
    with tempfile.TemporaryDirectory(prefix="boardwright-fuzz-") as place:
        verifier = Verifier(
            Path(place), write=Path.write_bytes, wall=lambda: NOW, monotonic=lambda: 0.0, root=IDENTITIES.root
        )
        with contextlib.suppress(BoardwrightError):
            _read(verifier, _Answers(GOOD.files, name, answer))
        if data[:1] < b"\x80":  # what the right key has not signed leaves nothing behind
            assert _read(verifier, _Answers(GOOD.files)) == {"platform": TARGET}


def _read(verifier: Verifier, answers: "_Answers") -> dict[str, Target]:
    """As a board reads what it is to run."""
    trusted = verifier.refresh(MetadataFetcher(answers), "https://c1s1/v1/metadata/")
    first = trusted.find(shard_path(0))
    if first is None:
        raise UntrustedError("no plan")
    found = trusted.find(shard_path(shard_of("c1s9", counted(first.custom))))
    assert found is not None
    data = shards_of(Plan(1, 0, (TARGET,), {"c1s9": (0,)}))["plans/0"]
    found.check_bytes(data)
    groups = read_shard(data).for_board("c1s9").groups
    for target in groups.values():
        trusted.find(version_path(target))
    return groups


def _signed(name: str, data: bytes) -> bytes:
    """The same signed by the key whose role it is, if it is metadata at all."""
    with contextlib.suppress(Exception):  # whatever python-tuf raises of bytes that are none
        made: Metadata[Any] = Metadata.from_bytes(data)
        made.sign(_SIGNERS.get(name, IDENTITIES.signer))
        return made.to_bytes()
    return data


class _Answers(urllib3.PoolManager):
    """A server that gives out what is signed, but for one role."""

    def __init__(self, files: dict[str, bytes], role: str = "", answer: bytes = b"") -> None:
        super().__init__()
        self._files = {
            name: answer if role and name.removesuffix(".json").rpartition(".")[2] == role else data
            for name, data in files.items()
        }

    def request(self, method: str, url: str, **asked: Any) -> Any:
        data = self._files.get(url.removeprefix("https://c1s1/v1/metadata/"))
        return urllib3.HTTPResponse(io.BytesIO(data or b""), status=404 if data is None else 200, preload_content=False)


def shard(data: bytes) -> None:
    """A part of a plan: every board in it has targets."""
    with contextlib.suppress(UntrustedError):
        plan = read_shard(data)
        for board in plan.boards:
            plan.for_board(board)
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, UntrustedError):
        assert 1 <= counted(msgspec.json.decode(data[:5000])) <= 4096


@functools.cache
def good_package() -> bytes:
    """A signed package of a few files."""
    with tempfile.TemporaryDirectory(prefix="boardwright-fuzz-") as place:
        tar, work, made = Path(place) / "a.tar", Path(place) / "work", Path(place) / "a.pkg"
        tar.write_bytes(good_tar())
        work.mkdir()
        write_package(made, pack(tar, SoftwareOptions(group="g", version="1"), workdir=work))
        return made.read_bytes()


def package(data: bytes) -> None:
    """A package file: nothing is written, nothing is read beyond its end, and what is taken is whole."""
    with tempfile.TemporaryDirectory(prefix="boardwright-fuzz-") as place:
        file = Path(place) / "a.pkg"
        file.write_bytes(data)
        with contextlib.suppress(MalformedError, UsageError):
            found = read_package(file)
            for offset, size in found.places.values():
                assert 0 <= offset <= offset + size <= len(data)
            check_blobs(found)
        assert [one.name for one in Path(place).iterdir()] == ["a.pkg"]


_SERVER = IDENTITIES.server("c1s1")
_OFFER = Offer("core1", NONCE, generation=7, groups=(GroupOffer("platform", "1", bytes(32)),))


def good_offer() -> bytes:
    """A server's whole offer."""
    return encode_offers(_OFFER, _SERVER)[0]


def offer(data: bytes) -> None:
    """A datagram with certificate and signature: it is believed, or counted by its reason, and nothing is raised."""
    witness = Witness(IDENTITIES.authority, 0.0)
    for one in (data, _sealed(data, _SERVER.certificate), _sealed(_BODY, data[:900])):
        received = decode(one, "core1")
        if isinstance(received, Received):
            heard = witness.hear(received, "10.0.0.66", 1.0, {NONCE})
            if isinstance(heard, Offer):
                assert (heard.server, heard.chassis, heard.slot) == ("c1s1", "1", "1")
                _PROVEN.check(received.signature, statement(Kind.OFFER, received.body))


_PROVEN = IDENTITIES.authority.verify(_SERVER.certificate)
_BODY: bytes = msgspec.msgpack.decode(good_offer())[2]


def _sealed(body: bytes, certificate: bytes) -> bytes:
    body = body[:600]  # the rest of a datagram is the certificate's and the signature's
    return msgspec.msgpack.encode([1, 2, body, certificate, _SERVER.sign(statement(Kind.OFFER, body))])


_CALLERS = IDENTITIES.callers(_SERVER)


def session(data: bytes) -> None:
    """The session calls and the header, as the blob port gets them: an answer, or UntrustedError."""
    assert _CALLERS.answer("GET", NONCE_PATH, data, "") is not None
    answered = _CALLERS.answer("POST", SESSION_PATH, data, f"10.0.0.{len(data) % 250}")
    assert answered is not None
    assert answered[0] in (400, 401, 403, 429)
    for header in (data.decode("latin-1"), "Bearer " + data.decode("latin-1")):
        with contextlib.suppress(UntrustedError):
            _CALLERS.caller(header)
            raise AssertionError("anybody is a member")


def join(data: bytes) -> None:
    """A request to join, signed as it should be: a line board's certificate, a place in the list, or a sentence."""
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        asked = msgspec.json.decode(data, type=Joining)
        gate = _gate()
        for signed in (asked, _proved(asked)):
            gate.now += 10.0  # nobody is put off
            with contextlib.suppress(BoardwrightError):
                answer = gate.admission.join(signed, "10.0.0.66")
                assert not answer.chain or whom(answer).role is Role.BOARD


@functools.cache
def _gate() -> Gate:
    place = tempfile.TemporaryDirectory(prefix="boardwright-fuzz-")
    atexit.register(place.cleanup)
    gate = Gate(Path(place.name))
    gate.token(uses=10_000, seconds=30 * 86_400.0)
    return gate


_SOMEONE = Someone()


def _proved(asked: Joining) -> Joining:
    try:
        return proved(asked, "core1", _SOMEONE.key)
    except UnicodeEncodeError:  # nobody can sign what is no text
        return asked


def good_joining() -> bytes:
    """A line board that wants in, with a token."""
    return msgspec.json.encode(msgspec.structs.replace(_SOMEONE.asks, role="board", secret=SECRET))


SIGNED = {
    "role": role,
    "metadata": metadata,
    "shard": shard,
    "package": package,
    "offer": offer,
    "session": session,
    "join": join,
}

SEEDS = {  # what is good, to be changed
    "role": good_role,
    "metadata": lambda: b"\x84" + good_role(),
    "shard": lambda: shards_of(Plan(1, 0, (TARGET,), {"c1s9": (0,)}))["plans/0"],
    "package": good_package,
    "offer": good_offer,
    "join": good_joining,
}
