"""Inputs for fuzzing, made from bytes or by hypothesis; what may be raised is declared with each target."""

import hashlib
import io
import tarfile

import msgspec

from boardwright.model.audit import Act, Action, Actor, Head, follow, line_of, record_after
from boardwright.model.software import (
    PIECE_SIZE,
    BlobRef,
    DirectoryEntry,
    FileEntry,
    HealthSpec,
    InstallSpec,
    Manifest,
    encode_manifest,
)
from boardwright.protocol.codec import encode_request
from boardwright.protocol.messages import GroupQuery, Request
from tests.identities import Identities


def good_manifest() -> bytes:
    """A valid manifest with everything in it: large and small files, a link, hooks, a health check."""
    small, large = b"hello", bytes(PIECE_SIZE + 1)
    blobs = tuple(
        BlobRef(
            hashlib.sha256(data).hexdigest(),
            len(data),
            b"".join(hashlib.sha256(data[at : at + PIECE_SIZE]).digest() for at in range(0, len(data), PIECE_SIZE)),
        )
        for data in (small, large)
    )
    return encode_manifest(
        Manifest(
            schema=1,
            group="platform",
            version="1.0",
            board_types=("lc-*", "rp"),
            files=(
                FileEntry("bin/hello", 0o755, 5, blobs[0].sha256, 0),
                FileEntry("bin/link", 0o777, link="hello"),
                FileEntry("large", 0o644, PIECE_SIZE + 1, blobs[1].sha256, 1),
            ),
            directories=(DirectoryEntry("bin", 0o755),),
            blobs=blobs,
            requires={"base": ">= 3, < 9"},
            install=InstallSpec(before=("bin/hello",), restart=("frr.service",)),
            health=HealthSpec(command=("bin/hello", "-v"), timeout=3.0),
        )
    )


def good_tree() -> object:
    """The same as plain JSON values, for changing one of them."""
    return msgspec.json.decode(good_manifest())


def good_tar() -> bytes:
    """An archive with every kind of member that is taken, long names in PAX headers among them."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, data, target in (
            ("bin", tarfile.DIRTYPE, b"", ""),
            ("bin/run", tarfile.REGTYPE, b"#!/bin/sh\n", ""),
            ("bin/link", tarfile.SYMTYPE, b"", "run"),
            ("bin/hard", tarfile.LNKTYPE, b"", "bin/run"),
            ("n" * 150, tarfile.REGTYPE, b"long", ""),
            ("\u00fc", tarfile.REGTYPE, b"x" * 600, ""),
            ("boardwright.toml", tarfile.REGTYPE, b'[software]\ngroup = "g"\nversion = "1"\n', ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname, member.mode = kind, len(data), target, 0o755
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def mutate(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """`data` with pieces cut out and put in: (where, how many bytes go, what comes)."""
    changed = bytearray(data)
    for at, gone, new in changes:
        at %= len(changed) + 1
        changed[at : at + gone] = new
    return bytes(changed)


def good_datagram() -> bytes:
    """A whole version request of the cluster core1."""
    query = GroupQuery("platform", "1.0", bytes(32))
    return encode_request(Request("core1", bytes(16), "c1s3", "1", "3", "lc", groups=(query,)))


def good_certificate() -> bytes:
    """A board's certificate (DER)."""
    return Identities("core1").board("c1s3").certificate


def good_audit_log() -> bytes:
    """Four records, one a line."""
    head, lines = Head(), []
    for number in range(4):
        act = Act(Actor("ana", "admin", "ab" * 32, "10.0.0.7"), Action.DEPLOY).on(f"platform {number}", rollout="r1")
        lines.append(line_of(record_after(head, act, 1000.0, "c1s1")))
        head, _ = follow(head, lines[-1])
    return b"\n".join(lines)
