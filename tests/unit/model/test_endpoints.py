"""The endpoints of an etcd as people write them."""

import pytest

from boardwright.errors import UsageError
from boardwright.model.endpoints import read_endpoints, write_engine


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("etcd://10.0.1.1", (("10.0.1.1", 2379),)),
        ("etcd://10.0.1.1:12379,etcd-2.example", (("10.0.1.1", 12379), ("etcd-2.example", 2379))),
        ("etcd://[FD00:0::1]:1,[::1]", (("fd00::1", 1), ("::1", 2379))),
    ],
)
def test_are_hosts_with_or_without_a_port(written: str, meant: tuple[tuple[str, int], ...]) -> None:
    assert read_endpoints(written) == meant
    assert read_endpoints(write_engine(meant)) == meant


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("sqlite:/x", "is not an engine of etcd's"),
        ("etcd://", "has no HOST:PORT in ''"),
        ("etcd://a,,b", "has no HOST:PORT in ''"),
        ("etcd://a:0", "has no HOST:PORT in 'a:0'"),
        ("etcd://a:65536", "has no HOST:PORT"),
        ("etcd://a:", "has no HOST:PORT"),
        ("etcd://a b", "has no HOST:PORT"),
        ("etcd://-a", "has no HOST:PORT"),
        ("etcd://u:p@a", "has no HOST:PORT"),
        ("etcd://a/path", "has no HOST:PORT"),
        ("etcd://fd00::1", "has no HOST:PORT"),
        ("etcd://[fd00::1", "has no HOST:PORT"),
        ("etcd://[a]:1", "has no HOST:PORT"),
        (f"etcd://{'a' * 254}", "has no HOST:PORT"),
        ("etcd://a,a:2379", "names an endpoint twice"),
        ("etcd://" + ",".join(f"h{number}" for number in range(10)), "10 endpoints of etcd are more than 9"),
    ],
)
def test_anything_else_is_wrong_usage(written: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_endpoints(written)
    assert sentence in str(caught.value)
    assert "etcd://10.0.1.1:2379" in (caught.value.hint or "")
