"""Addresses and groups as operators write them: IPv4 and IPv6, with and without a port."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.config.readers import address, addresses, host, multicast, write_address
from boardwright.errors import UsageError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("10.0.1.1:6688", ("10.0.1.1", 6688)),
        ("[fd00::1]:6688", ("fd00::1", 6688)),
        ("[FD00:0::0:1]:6688", ("fd00::1", 6688)),
        ("[::]:0", ("::", 0)),
    ],
)
def test_an_address_with_its_port(written: str, meant: tuple[str, int]) -> None:
    assert address()(written) == meant
    assert address()(write_address(meant)) == meant


def test_a_list_may_leave_the_port_out() -> None:
    assert addresses(["10.0.1.1", "fd00::1", "[fd00::2]", "[fd00::3]:7"]) == (
        ("10.0.1.1", 6687),
        ("fd00::1", 6687),
        ("fd00::2", 6687),
        ("fd00::3", 7),
    )


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("none", None),
        ("239.1.2.3", ("239.1.2.3", 6687)),
        ("239.1.2.3:7", ("239.1.2.3", 7)),
        ("[ff08::6687]:6687", ("ff08::6687", 6687)),
        ("ff08::6687", ("ff08::6687", 6687)),
        ("[FF05::1]", ("ff05::1", 6687)),
    ],
)
def test_a_multicast_group(written: str, meant: tuple[str, int] | None) -> None:
    assert multicast(written) == meant


@pytest.mark.parametrize(
    ("read", "value"),
    [
        *((host, one) for one in ("fe80::1", "ff08::1", "::ffff:10.0.0.1", "fd00::1%eth1", "10.0.1", "[fd00::1]", 7)),
        *((address(), one) for one in ("fd00::1", "[fd00::1]", "[fd00::1]6688", "[fd00::1:6688", "10.0.1.1", "[]:1")),
        *((address(), one) for one in ("[fd00::1]:65536", "[fd00::1]:-1", "[fd00::1]:", "10.0.1.1:")),
        *((multicast, one) for one in ("ff02::1", "[ff01::1]:7", "fd00::1", "[ff08::1]:0", "[ff08::1]:x", "eth1")),
    ],
)
def test_what_is_none_is_refused(read: Callable[[object], object], value: object) -> None:
    with pytest.raises(UsageError):
        read(value)


@given(st.text("0123456789abcdef:.[]%", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (host, address(), address(1), multicast):
        try:
            read(text)
        except UsageError:
            pass
