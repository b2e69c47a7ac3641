"""A range that comes in pages is of one revision, whatever happens between them."""

from collections.abc import Callable, Iterator

import pytest

from boardwright.state import etcd_kv
from boardwright.state.etcd_kv import EtcdKV
from boardwright.state.etcd_messages import Message
from boardwright.state.kv import EngineError, Transaction
from tests.etcd_members import EtcdMembers, members

KEYS = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
    with members(tmp_path_factory.mktemp("etcd")) as one:
        yield one


@pytest.fixture
def kv(etcd: EtcdMembers, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[EtcdKV]:
    """Two entries a page."""
    monkeypatch.setattr(etcd_kv, "PAGE", 2)
    made = etcd.kv(request.node.name)
    made.commit(Transaction({"a": 0}, dict.fromkeys(KEYS, b"old")))
    yield made
    made.close()


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """What happens before every page but the first of each reading."""
    range_of = etcd_kv.range_of

    def meanwhile(act: Callable[[], object]) -> None:
        def later(key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = 0) -> Message:
            if revision:
                act()
            return range_of(key, end, limit=limit, revision=revision)

        monkeypatch.setattr(etcd_kv, "range_of", later)

    return meanwhile


def write(etcd: EtcdMembers, cluster: str) -> int:
    other = etcd.kv(cluster)
    try:
        return other.commit(Transaction({"x": 0}, dict.fromkeys(KEYS, b"new")))
    finally:
        other.close()


def test_a_change_between_two_pages_is_in_none_of_them(
    etcd: EtcdMembers, kv: EtcdKV, between: Callable[[Callable[[], object]], None]
) -> None:
    before = kv.range("").revision
    between(lambda: write(etcd, kv.cluster))
    snapshot = kv.range("")
    assert [(entry.key, entry.value) for entry in snapshot.entries] == [(key, b"old") for key in KEYS]
    assert snapshot.revision == before


def test_it_begins_anew_if_etcd_forgets_that_revision(
    etcd: EtcdMembers, kv: EtcdKV, between: Callable[[Callable[[], object]], None]
) -> None:
    once = iter([True])
    between(lambda: next(once, False) and etcd.compact(write(etcd, kv.cluster)))
    assert {entry.value for entry in kv.range("").entries} == {b"new"}


def test_an_etcd_that_forgets_faster_than_it_can_be_read_is_said(
    etcd: EtcdMembers, kv: EtcdKV, between: Callable[[Callable[[], object]], None]
) -> None:
    between(lambda: etcd.compact(write(etcd, kv.cluster)))
    with pytest.raises(EngineError, match="forgets the past faster than it can be read"):
        kv.range("")
