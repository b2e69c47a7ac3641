"""What strangers make of our datagrams: cut, lengthened, flipped, boasting, nested. Never an exception, flat memory."""

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.model.location import Location
from boardwright.protocol.codec import Dropped, Received, decode, encode_announcement, encode_offers, encode_request
from boardwright.protocol.messages import (
    MAX_DATAGRAM,
    Announcement,
    GroupOffer,
    GroupQuery,
    Holding,
    Offer,
    Request,
)
from boardwright.sim.seal import SimSeal

SEAL = SimSeal("c1s1", Location("1", "1"))
NONCE, DIGEST = bytes(range(16)), bytes(range(32))
WHOLE = [
    encode_request(Request("lab", NONCE, "c1s3", "1", "3", "lc", 7, (GroupQuery("platform", "1.0", DIGEST),))),
    *encode_offers(
        Offer(
            "lab", NONCE, "c1s1", "1", "1", 7, "https://10.0.1.1:6688", "https://10.0.1.1:6689", 250,
            groups=(GroupOffer("platform", "1.0", DIGEST, Holding.PART, True, b"\xff"),),
        ),
        SEAL,
    ),
    encode_announcement(Announcement("lab", "c1s1", 7), SEAL),
]  # fmt: skip
HEADS = [  # msgpack openings that promise more than there is: strings, bins, arrays, maps, extensions of up to 4 GiB
    bytes.fromhex(head)
    for head in (
        "dbffffffff", "d9ff", "daffff", "c6ffffffff", "c4ff", "c5ffff", "ddffffffff", "dcffff", "dfffffffff", "deffff",
        "c9ffffffff7f", "c7ff01", "d8", "9f", "8f", "bf", "c1", "cb", "cf", "d3",
    )
]  # fmt: skip

whole = st.sampled_from(WHOLE)


def harmless(data: bytes) -> None:
    """It is answered with a message within all bounds, or with a reason."""
    received = decode(data, "lab")
    if isinstance(received, Received):
        assert received.message.cluster == "lab"
        assert len(data) <= MAX_DATAGRAM
    else:
        assert isinstance(received, Dropped)


@given(whole, st.integers(0, MAX_DATAGRAM))
def test_cut_off_anywhere_it_is_dropped(data: bytes, length: int) -> None:
    if length < len(data):
        assert isinstance(decode(data[:length], "lab"), Dropped)


@given(whole, st.binary(min_size=1, max_size=2000))
def test_lengthened_it_is_dropped_or_of_a_later_release(data: bytes, more: bytes) -> None:
    assert isinstance(decode(data + more, "lab"), Dropped)


@given(whole, st.lists(st.integers(0, MAX_DATAGRAM * 8 - 1), min_size=1, max_size=20))
def test_with_flipped_bits_it_is_harmless(data: bytes, bits: list[int]) -> None:
    flipped = bytearray(data)
    for bit in bits:
        flipped[bit // 8 % len(flipped)] ^= 1 << bit % 8
    harmless(bytes(flipped))


@given(whole, st.integers(0, MAX_DATAGRAM), st.integers(0, 40), st.binary(max_size=40))
def test_with_a_part_replaced_it_is_harmless(data: bytes, at: int, length: int, by: bytes) -> None:
    harmless(data[:at] + by + data[at + length :])


@given(whole, st.integers(0, MAX_DATAGRAM), st.sampled_from(HEADS))
def test_with_a_boasting_length_anywhere_it_is_harmless(data: bytes, at: int, head: bytes) -> None:
    harmless(data[:at] + head + data[at + len(head) :])


@given(st.lists(whole, min_size=2, max_size=4), st.data())
def test_sewn_together_from_several_it_is_harmless(parts: list[bytes], data: st.DataObject) -> None:
    cuts = [data.draw(st.integers(0, len(part))) for part in parts]
    harmless(b"".join(part[:cut] for part, cut in zip(parts, cuts, strict=True)))


@pytest.mark.parametrize("opening", ["91", "81a163", "dd00000001", "df00000001a163"])
def test_nested_as_deep_as_it_fits_it_is_harmless(opening: str) -> None:
    one = bytes.fromhex(opening)
    for count in (10, 100, MAX_DATAGRAM // len(one)):
        harmless(one * count)
        harmless(b"\x95\x01\x01" + one * (count - 10) + b"\xc0")
        body = (one * (count - 10))[: MAX_DATAGRAM - 10]
        harmless(b"\x95\x01\x02\xc5" + len(body).to_bytes(2, "big") + body + b"\xc4\0\xc4\0")


def test_memory_stays_flat_under_a_hundred_thousand_of_them() -> None:
    chance = random.Random(1)
    junk = [chance.randbytes(chance.randrange(MAX_DATAGRAM)) for _ in range(500)]
    junk += [data[:at] + head + data[at + 5 :] for data in WHOLE for head in HEADS for at in range(0, len(data), 60)]
    for data in junk:
        harmless(data)
    tracemalloc.start()
    try:
        for data in junk:
            harmless(data)
        settled, _peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(100_000 // len(junk)):
            for data in junk:
                harmless(data)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - settled < 16 * 1024
    assert peak - settled < 64 * 1024  # no length that was only claimed is ever reserved
