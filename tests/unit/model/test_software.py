"""A manifest is checked before anybody believes it."""

import hashlib

import msgspec
import pytest

from boardwright.errors import MalformedError
from boardwright.model.software import (
    PIECE_SIZE,
    BlobRef,
    DirectoryEntry,
    FileEntry,
    HealthSpec,
    InstallSpec,
    Manifest,
    check_manifest,
    decode_manifest,
    encode_manifest,
    variant_fits,
    variant_of,
)

CONTENT = b"hello"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
BLOB = BlobRef(DIGEST, len(CONTENT), hashlib.sha256(CONTENT).digest())
FILE = FileEntry("bin/hello", 0o755, len(CONTENT), DIGEST, 0, 0)
GOOD = Manifest(1, "platform", "1.0", files=(FILE,), directories=(DirectoryEntry("bin", 0o755),), blobs=(BLOB,))


def test_a_manifest_survives_encoding_and_decoding() -> None:
    assert decode_manifest(encode_manifest(GOOD)) == GOOD


def test_the_same_manifest_always_has_the_same_bytes() -> None:
    turned = msgspec.structs.replace(GOOD, requires={"b": ">= 1", "a": ">= 2"})
    straight = msgspec.structs.replace(GOOD, requires={"a": ">= 2", "b": ">= 1"})
    assert encode_manifest(turned) == encode_manifest(straight)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../up", "a/../b", "a//b", "./a", "a/", "a\0b", "x" * 256, "d/" * 3000 + "f"]
)
def test_a_path_that_is_not_plainly_inside_the_tree_is_refused(path: str) -> None:
    with pytest.raises(MalformedError, match="path"):
        check_manifest(msgspec.structs.replace(GOOD, files=(msgspec.structs.replace(FILE, path=path),)))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../up", "x/../../../y", "", "a\0"])
def test_a_link_that_leaves_the_tree_is_refused(target: str) -> None:
    link = FileEntry("bin/link", 0o777, link=target)
    with pytest.raises(MalformedError, match="link"):
        check_manifest(msgspec.structs.replace(GOOD, files=(FILE, link)))


def test_a_link_inside_the_tree_is_fine() -> None:
    check_manifest(msgspec.structs.replace(GOOD, files=(FILE, FileEntry("bin/link", 0o777, link="../bin/hello"))))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"files": (FILE, FILE)}, "stands twice"),
        ({"directories": (DirectoryEntry("bin/hello", 0o755),)}, "stands twice"),
        ({"blobs": (BLOB, BLOB)}, "stands twice"),
        ({"blobs": ()}, "names blob 0 of 0"),
        ({"blobs": (BlobRef(DIGEST, PIECE_SIZE + 1, b"x" * 32),)}, "piece digests"),
        ({"blobs": (BlobRef("zz", 5, b"x" * 32),)}, "64 hex digits"),
        ({"files": (msgspec.structs.replace(FILE, offset=1),)}, "ends behind its blob"),
        ({"files": (msgspec.structs.replace(FILE, mode=0o100644),)}, "permission bits"),
        ({"files": (msgspec.structs.replace(FILE, size=-1),)}, "size -1"),
        ({"files": (msgspec.structs.replace(FILE, sha256="nope"),)}, "64 hex digits"),
        ({"files": (FILE, FileEntry("bin/hello/x", 0o644, 0, DIGEST))}, "below the file"),
        ({"files": (FileEntry("l", 0o777, link="bin"), FileEntry("l/x", 0o644, 0, DIGEST))}, "through the link"),
        ({"kind": "disk"}, "neither tree nor image"),
        ({"kind": "image", "files": ()}, "an image has one file"),
        ({"schema": 2}, "schema 2"),
        ({"group": "a/b"}, "group"),
        ({"files": (FILE, msgspec.structs.replace(FILE, path="b", offset=1, size=4))}, "overlapping"),
        ({"files": (FILE, msgspec.structs.replace(FILE, path="b", sha256="0" * 64))}, "not its digest"),
        ({"files": (FileEntry("e", 0o644, 0, DIGEST, 0, 7),)}, "is empty and names blob"),
        ({"files": (FileEntry("a\nb", 0o644, 0, DIGEST),)}, "control characters"),
        ({"files": (FileEntry("d/" * 200 + "f", 0o644, 0, DIGEST),)}, "more than 128 directories"),
        ({"files": (FileEntry("l", 0o777, link="x\x1b"),)}, "control characters"),
        ({"files": (msgspec.structs.replace(FILE, size=2**62), FILE)}, "more than 274877906944 bytes"),
        ({"blobs": (BlobRef(DIGEST, 2**63 - 1, b""),)}, "more than 274877906944 bytes"),
        ({"blobs": (BlobRef(DIGEST, -1, b""),)}, "piece digests"),
        ({"board_types": ("a b",)}, "board type 'a b'"),
        ({"board_types": ("x",) * 65}, "65 entries"),
        ({"requires": {"a/b": ">= 1"}}, "required group"),
        ({"requires": {"a": "= 1"}}, "cannot be read"),
        ({"requires": {"a": ">= 1," * 2000}}, "more than 4096"),
        ({"install": InstallSpec(installer="../x")}, "installer"),
        ({"install": InstallSpec(before=("../evil",))}, "leaves its tree"),
        ({"install": InstallSpec(after=("/bin/sh",))}, "relative path"),
        ({"install": InstallSpec(restart=("--host=evil",))}, "is not a unit"),
        ({"install": InstallSpec(restart=("a b",))}, "is not a unit"),
        ({"install": InstallSpec(hook_timeout=float("nan"))}, "hook_timeout nan"),
        ({"install": InstallSpec(hook_timeout=float("inf"))}, "hook_timeout inf"),
        ({"install": InstallSpec(hook_timeout=-1.0)}, "hook_timeout -1"),
        ({"health": HealthSpec(timeout=1e300)}, "health timeout"),
        ({"health": HealthSpec(http="ftp://x")}, "is not a URL"),
        ({"health": HealthSpec(tcp="host:0")}, "is not host:port"),
        ({"health": HealthSpec(tcp="host:99999")}, "is not host:port"),
        ({"health": HealthSpec(command=("a\0b",))}, "zero byte"),
        ({"health": HealthSpec(command=("x" * 5000,))}, "4096 bytes"),
        ({"version": ""}, "version"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(MalformedError, match=sentence):
        check_manifest(msgspec.structs.replace(GOOD, **change))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff\xfe", b'{"schema": "1"}', b"null"])
def test_bytes_that_are_no_manifest_are_refused_with_one_error(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_manifest(data)


def test_the_last_piece_of_a_blob_is_shorter() -> None:
    blob = BlobRef(DIGEST, 2 * PIECE_SIZE + 7, b"x" * 96)
    assert [blob.piece_span(index) for index in range(blob.piece_count)] == [
        (0, PIECE_SIZE),
        (PIECE_SIZE, PIECE_SIZE),
        (2 * PIECE_SIZE, 7),
    ]


def test_a_variant_is_its_set_of_board_types() -> None:
    assert variant_of(["lc-b", "lc-a", "lc-b"]) == "lc-a,lc-b"
    assert variant_of([]) == variant_of(["lc-a", "*"]) == "*"
    assert variant_fits("lc-*,rp", "lc-100g")
    assert variant_fits("lc-*,rp", "rp")
    assert not variant_fits("lc-*,rp", "fan")
