"""Atheris drives the codec: whatever the bytes, ``decode`` answers, and what it takes can be sent again.

``python tests/fuzz/codec_target.py [-max_total_time=60] [CORPUS]``; needs `pip install atheris`.
"""

import sys

import atheris

with atheris.instrument_imports():
    from boardwright.protocol.codec import (
        Dropped,
        Received,
        decode,
        encode_announcement,
        encode_offers,
        encode_request,
        split_request,
    )
    from boardwright.protocol.messages import Announcement, GroupQuery, Offer, Request


def one(data: bytes) -> None:
    """One input: raw, and as the body of an envelope of each kind."""
    _check(data)
    body = b"\xc5" + len(data).to_bytes(2, "big") + data
    for kind in (1, 2, 3):
        _check(b"\x95\x01" + bytes([kind]) + body + b"\xc4\0\xc4\0")


def _check(data: bytes) -> None:
    received = decode(data, "lab")
    if isinstance(received, Dropped):
        return
    if not isinstance(received, Received):
        raise TypeError(f"decode answered {received!r}")
    message = received.message
    if isinstance(message, Announcement):
        again = encode_announcement(message)
    elif isinstance(message, Offer):
        (again, *_) = encode_offers(message) or [b""]
    else:
        again = encode_request(split_request(message)[0])
    if again and isinstance(decode(again, "lab"), Dropped):
        raise ValueError(f"what was taken is not taken again: {message!r}")


def corpus() -> list[bytes]:
    """A whole message of each kind."""
    query = GroupQuery("platform", "1.0", bytes(32))
    return [
        encode_request(Request("lab", bytes(16), "c1s3", "1", "3", "lc", groups=(query,))),
        *encode_offers(Offer("lab", bytes(16), "c1s1", "1", "1", 7, "http://a:1", "http://a:2")),
        encode_announcement(Announcement("lab", "c1s1", 7)),
    ]


if __name__ == "__main__":
    for seed in corpus():
        one(seed)
    atheris.Setup([*sys.argv, "-max_len=2048"], one)
    atheris.Fuzz()
