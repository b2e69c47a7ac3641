"""Hypothesis feeds the fuzz targets: arbitrary bytes, arbitrary values, and good inputs with something changed."""

import gzip
import lzma
import tarfile
import tracemalloc
from collections.abc import Callable

import msgspec
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.makers import good_audit_log, good_certificate, good_manifest, good_tar, good_tree, mutate
from tests.fuzz.values import CHANGES, VALUES, changed, json

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

TAR = good_tar()
CERTIFICATE = good_certificate()
AUDIT_LOG = good_audit_log()


class TestRelays:
    @MANY
    @given(
        st.one_of(
            st.binary(max_size=300),
            st.lists(
                st.sampled_from([b"GET", b" ", b"/v1/blobs/", b"HTTP/1.1", b"\r\n", b"Range: bytes=0-9", b":", b"x"])
            ).map(b"".join),
            st.binary(max_size=60).map(lambda noise: b"GET /x HTTP/1.1\r\nRange: bytes=0-1" + noise),
        )
    )
    def test_of_anything(self, data: bytes) -> None:
        targets.relay_request(data)


class TestManifests:
    @MANY
    @given(st.one_of(st.binary(max_size=300), VALUES.map(json)))
    def test_of_anything(self, data: bytes) -> None:
        targets.manifest(data)

    @MANY
    @given(changed(good_tree()).map(json))
    def test_with_a_value_changed(self, data: bytes) -> None:
        targets.manifest(data)

    @MANY
    @given(CHANGES)
    def test_with_bytes_changed(self, changes: list[tuple[int, int, bytes]]) -> None:
        targets.manifest(mutate(good_manifest(), changes))

    @pytest.mark.parametrize("item", [b'{"path":"","mode":0}', b'"ab"', b"0", b"[]", b'{"a":'])
    def test_of_many_megabytes_take_bounded_memory(self, item: bytes) -> None:
        key = {b"{": b"files", b'"': b"board_types"}.get(item[:1], b"blobs")
        head = b'{"schema":1,"group":"g","version":"1","' + key + b'":['
        data = head + (item + b",") * (32 * 1024 * 1024 // (len(item) + 1)) + item + b"]}"
        tracemalloc.start()
        try:
            targets.manifest(data)
            assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
        finally:
            tracemalloc.stop()


class TestMessagesAndBodies:
    @MANY
    @given(st.binary(max_size=1300))
    def test_datagrams(self, data: bytes) -> None:
        targets.codec(data)

    @MANY
    @given(VALUES)
    def test_datagrams_of_good_msgpack(self, value: object) -> None:
        try:
            data = msgspec.msgpack.encode([1, 1, msgspec.msgpack.encode(value), None, None])
        except OverflowError:
            return
        targets.codec(data.ljust(1200, b"\0"))

    @MANY
    @given(st.one_of(st.binary(max_size=300), VALUES.map(json)))
    def test_json(self, data: bytes) -> None:
        targets.bodies(data)


class TestTheAuditLog:
    @FEW
    @given(st.one_of(st.binary(max_size=300), VALUES.map(json)))
    def test_of_anything(self, data: bytes) -> None:
        targets.audit(data)

    @FEW
    @given(CHANGES)
    def test_with_bytes_changed(self, changes: list[tuple[int, int, bytes]]) -> None:
        targets.audit(mutate(AUDIT_LOG, changes))


class TestCredentials:
    @MANY
    @given(st.binary(max_size=900))
    def test_of_anything(self, data: bytes) -> None:
        targets.credentials(data)

    @MANY
    @given(CHANGES)
    def test_a_certificate_with_bytes_changed(self, changes: list[tuple[int, int, bytes]]) -> None:
        targets.credentials(mutate(CERTIFICATE, changes))


WORDS = "cluster board server agent relay limits state name interface multicast servers peers id chassis slot type"
KEYS = st.sampled_from([*WORDS.split(), "groups", "listen", "address", "engine", "period", "download", "install", "x"])
WRITTEN = """"x" "" 1 -1 0.5 nan inf true [] ["a"] {} 1979-05-27 07:32:00 "a\\u0000" "\\u001b[2J" '10.0.0.1' "1GB"
    [[[[1]]]] "239.255.66.87:6687" """
VALUES_IN_TOML = st.sampled_from([*WRITTEN.split(), "9" * 400, "9" * 5000, "0x" + "f" * 5000])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Documents of the right words with any values: deeper into the readers than arbitrary text gets."""
    lines = []
    for _ in range(draw(st.integers(0, 8))):
        table = draw(KEYS)
        lines.append(draw(st.sampled_from([f"[{table}]", f"[[{table}]]", ""])))
        lines += [f"{draw(KEYS)} = {draw(VALUES_IN_TOML)}" for _ in range(draw(st.integers(0, 4)))]
    return "\n".join(lines).encode()


class TestConfigurations:
    @MANY
    @given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
    def test_of_anything(self, data: bytes) -> None:
        targets.settings(data)

    @MANY
    @given(documents())
    def test_of_the_right_words(self, data: bytes) -> None:
        targets.settings(data)


class TestArchives:
    @FEW
    @given(st.binary(max_size=2000))
    def test_of_anything_behind_a_good_member(self, data: bytes) -> None:
        targets.archive(TAR[:1536] + data)

    @MANY
    @given(CHANGES)
    def test_with_bytes_changed(self, changes: list[tuple[int, int, bytes]]) -> None:
        targets.archive(mutate(TAR, changes))

    @MANY
    @given(CHANGES)
    def test_with_bytes_changed_and_the_checksums_made_good(self, changes: list[tuple[int, int, bytes]]) -> None:
        data = bytearray(TAR)
        for at, _, new in changes:
            at %= len(TAR) - 512
            data[at : at + len(new)] = new
        for start in range(0, len(data) - 511, 512):
            block = data[start : start + 512]
            if block[257:262] == b"ustar":
                data[start + 148 : start + 156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]  # type: ignore[attr-defined]
        targets.archive(bytes(data))

    @pytest.mark.parametrize("squeeze", [gzip.compress, lzma.compress, zstd.compress])
    @FEW
    @given(changes=CHANGES)
    def test_compressed_and_changed(
        self, squeeze: Callable[[bytes], bytes], changes: list[tuple[int, int, bytes]]
    ) -> None:
        targets.archive(mutate(squeeze(TAR), changes))
