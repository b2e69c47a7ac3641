"""Values that are larger than one of etcd's requests: whole or not there, now and in the past, whoever dies."""

from collections.abc import Iterator

import pytest

from boardwright.errors import ConflictError, UsageError
from boardwright.state import etcd_kv
from boardwright.state.etcd_kv import EtcdKV
from boardwright.state.etcd_messages import Message
from boardwright.state.etcd_pieces import PIECE_BYTES, REQUEST_BYTES, Pointer, in_pieces, write_pointer
from boardwright.state.kv import MAX_VALUE, CompactedError, EngineError, Transaction
from tests.etcd_members import EtcdMembers, members

LARGE = bytes(range(256)) * (14 * 1024)  # 3.5 MiB
OTHER = LARGE[::-1]


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
    with members(tmp_path_factory.mktemp("etcd")) as one:
        yield one


@pytest.fixture
def kv(etcd: EtcdMembers, request: pytest.FixtureRequest) -> Iterator[EtcdKV]:
    made = etcd.kv(request.node.name.replace("[", "-").strip("]"))
    yield made
    made.close()


def pieces(etcd: EtcdMembers, kv: EtcdKV) -> int:
    """How many lie in etcd for this KV."""
    return etcd.count(f"boardwright/{kv.cluster}/pieces/")


class TestALargeValue:
    def test_is_read_as_any_other(self, kv: EtcdKV) -> None:
        revision = kv.commit(Transaction({"plan": 0}, {"plan": LARGE, "policy": b"small"}))
        entry = kv.get("plan")
        assert entry is not None
        assert (entry.value, entry.revision) == (LARGE, revision)
        assert [(one.value, one.revision) for one in kv.range("").entries] == [(LARGE, revision), (b"small", revision)]

    def test_is_watched_as_it_was_after_it_was_replaced_and_removed(self, kv: EtcdKV) -> None:
        before = kv.range("").revision
        first = kv.commit(Transaction({"plan": 0}, {"plan": LARGE}))
        second = kv.commit(Transaction({"plan": first}, {"plan": OTHER}))
        third = kv.commit(Transaction({"plan": second}, {"plan": None}))
        seen, at = [], before
        while at < third:
            changes = kv.watch("", at, 5.0)
            seen += [(change.value, change.revision) for change in changes]
            at = changes[-1].revision
        assert seen == [(LARGE, first), (OTHER, second), (None, third)]

    def test_leaves_nothing_when_it_is_replaced_or_removed(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        revision = kv.commit(Transaction({"plan": 0, "plan/x": 0}, {"plan": LARGE, "plan/x": LARGE}))
        assert pieces(etcd, kv) == 8
        revision = kv.commit(Transaction({"plan": revision}, {"plan": OTHER}))
        assert pieces(etcd, kv) == 8
        revision = kv.commit(Transaction({"plan": revision}, {"plan": b"small"}))
        assert pieces(etcd, kv) == 4
        kv.commit(Transaction({"plan": revision}, {"plan/x": None}))
        assert pieces(etcd, kv) == 0

    def test_that_another_server_wrote_leaves_nothing_either(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        revision = kv.commit(Transaction({"plan": 0}, {"plan": LARGE}))
        other = etcd.kv(kv.cluster)
        assert other.get("plan") is not None
        other.commit(Transaction({"plan": revision}, {"plan": b"small"}))
        assert pieces(etcd, kv) == 0
        other.close()

    def test_that_is_not_taken_leaves_nothing(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        revision = kv.commit(Transaction({"plan": 0}, {"plan": LARGE}))
        with pytest.raises(ConflictError, match=f"plan is at revision {revision}, the change expects 0"):
            kv.commit(Transaction({"plan": 0}, {"plan": OTHER}))
        entry = kv.get("plan")
        assert entry is not None
        assert entry.value == LARGE
        assert pieces(etcd, kv) == 4

    def test_whose_writer_died_before_the_change_is_cleared_away_by_the_next(
        self, etcd: EtcdMembers, kv: EtcdKV, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as dying:
            dying.setattr(etcd_kv, "txn_of", _die)
            with pytest.raises(KeyboardInterrupt):
                kv.commit(Transaction({"plan": 0}, {"plan": LARGE}))
        assert kv.get("plan") is None
        assert pieces(etcd, kv) == 4
        kv.commit(Transaction({"plan": 0}, {"plan": OTHER}))
        assert pieces(etcd, kv) == 4

    def test_that_two_write_at_once_is_one_of_theirs(
        self, etcd: EtcdMembers, kv: EtcdKV, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other replaces the same key, without comparing it, between our pieces and our change."""
        other = etcd.kv(kv.cluster)
        txn_of = etcd_kv.txn_of

        def late(compares: dict[bytes, int], operations: list[Message]) -> Message:
            monkeypatch.undo()
            other.commit(Transaction({"lease": 0}, {"plan": OTHER}))
            return txn_of(compares, operations)

        monkeypatch.setattr(etcd_kv, "txn_of", late)
        with pytest.raises(ConflictError, match="the same large value at the same moment"):
            kv.commit(Transaction({"lease": 0}, {"plan": LARGE}))
        entry = kv.get("plan")
        assert entry is not None
        assert entry.value == OTHER
        other.close()

    def test_that_is_damaged_is_said_and_not_handed_out(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        kv.commit(Transaction({"plan": 0}, {"plan": LARGE}))
        etcd.remove(f"boardwright/{kv.cluster}/pieces/", 1)
        with pytest.raises(EngineError, match="value of plan in etcd is damaged: 3 of its 4 pieces") as caught:
            kv.get("plan")
        assert "backup" in (caught.value.hint or "")

    def test_of_the_past_that_etcd_forgot_is_to_be_read_again(self, etcd: EtcdMembers, kv: EtcdKV) -> None:
        first = kv.commit(Transaction({"plan": 0}, {"plan": LARGE}))
        second = kv.commit(Transaction({"plan": first}, {"plan": OTHER}))
        etcd.compact(second)
        with pytest.raises(CompactedError):
            kv.watch("", first - 1, 1.0)
        assert kv.range("").entries[0].value == OTHER

    def test_as_large_as_values_may_be(self, kv: EtcdKV) -> None:
        value = b"x" * MAX_VALUE
        kv.commit(Transaction({"plan": 0}, {"plan": value}))
        entry = kv.get("plan")
        assert entry is not None
        assert entry.value == value

    def test_that_begins_like_a_pointer_is_still_itself(self, kv: EtcdKV) -> None:
        value = write_pointer(Pointer("name", 1, 1, "0" * 64))
        kv.commit(Transaction({"a": 0}, {"a": value}))
        entry = kv.get("a")
        assert entry is not None
        assert entry.value == value


def test_many_middling_values_go_in_one_change(kv: EtcdKV) -> None:
    puts: dict[str, bytes | None] = {f"k{number}": b"%d" % number * 30_000 for number in range(50)}
    revision = kv.commit(Transaction({"k0": 0}, puts))
    assert {entry.key: (entry.value, entry.revision) for entry in kv.range("").entries} == {
        key: (value, revision) for key, value in puts.items()
    }


def test_so_many_large_ones_that_etcd_cannot_take_them_are_wrong_usage(etcd: EtcdMembers, kv: EtcdKV) -> None:
    puts: dict[str, bytes | None] = {f"k{number}": b"x" * 20_000 for number in range(120)}
    with pytest.raises(UsageError, match=r"120 puts, [0-9]+ of them large, is more than the 128 operations"):
        kv.commit(Transaction({"k0": 0}, puts))
    assert kv.range("").entries == ()
    assert pieces(etcd, kv) == 0


class TestWhatIsSplit:
    @pytest.mark.parametrize(
        ("sizes", "split"),
        [
            ({"a": 10, "b": None}, ()),
            ({"a": REQUEST_BYTES - 1}, ()),
            ({"a": REQUEST_BYTES}, ("a",)),
            ({"a": REQUEST_BYTES // 2, "b": REQUEST_BYTES // 2 - 2}, ()),
            ({"a": REQUEST_BYTES // 2 - 1, "b": REQUEST_BYTES // 2, "c": 1}, ("b",)),
            ({"a": 3 * PIECE_BYTES, "b": 2 * PIECE_BYTES, "c": 10}, ("a", "b")),
        ],
    )
    def test_is_the_fewest_largest_that_make_the_rest_fit(
        self, sizes: dict[str, int | None], split: tuple[str, ...]
    ) -> None:
        assert in_pieces({key: None if size is None else bytes(size) for key, size in sizes.items()}) == split


def _die(*_: object) -> Message:
    raise KeyboardInterrupt
