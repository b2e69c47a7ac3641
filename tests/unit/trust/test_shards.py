"""The plan as the files that are signed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.model.plan import Plan
from boardwright.model.software import Target
from boardwright.trust.errors import UntrustedError
from boardwright.trust.shards import (
    MAX_SHARD_BYTES,
    counted,
    read_shard,
    shard_count,
    shard_of,
    shard_path,
    shards_of,
)

TARGETS = tuple(Target("platform", f"{number}.0", "*", f"{number:064x}") for number in range(4))


def plan_of(boards: int) -> Plan:
    return Plan(7, 6, TARGETS, {f"c{number}s1": (number % 4,) for number in range(boards)})


class TestAPlan:
    @pytest.mark.parametrize("boards", [0, 1, 256, 257, 3000])
    def test_is_all_in_its_shards_and_every_board_finds_its_own(self, boards: int) -> None:
        plan = plan_of(boards)
        shards = shards_of(plan)
        assert len(shards) == shard_count(boards)
        for board in (*plan.boards, "nobody"):
            shard = read_shard(shards[shard_path(shard_of(board, len(shards)))])
            assert shard.for_board(board) == plan.for_board(board)

    def test_names_in_a_shard_only_what_its_boards_run(self) -> None:
        plan = Plan(7, 6, TARGETS, {"c1s1": (2,)})
        assert read_shard(shards_of(plan)["plans/0"]).targets == (TARGETS[2],)

    def test_is_made_alike_whatever_the_order_of_its_boards(self) -> None:
        plan = plan_of(1000)
        other = Plan(7, 6, TARGETS, dict(reversed(plan.boards.items())))
        assert shards_of(plan) == shards_of(other)

    def test_of_100_000_boards_has_small_files(self) -> None:
        shards = shards_of(plan_of(100_000))
        assert len(shards) == 512
        assert max(map(len, shards.values())) < 10_000

    @pytest.mark.parametrize(("boards", "count"), [(0, 1), (256, 1), (257, 2), (10_000, 64), (100_000, 512)])
    def test_has_as_many_as_the_boards_need(self, boards: int, count: int) -> None:
        assert shard_count(boards) == count


class TestAShard:
    @given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
    def test_of_any_bytes_is_read_or_refused(self, data: bytes) -> None:
        try:
            read_shard(data)
        except UntrustedError:
            pass

    @pytest.mark.parametrize("index", [4, -1])
    def test_that_names_what_it_has_not_is_refused(self, index: int) -> None:
        data = b'{"generation":1,"targets":[],"boards":{"c1s1":[%d]}}' % index
        with pytest.raises(UntrustedError, match="names targets that it has not"):
            read_shard(data)

    def test_is_bounded_before_it_is_read(self) -> None:
        with pytest.raises(UntrustedError, match="at most"):
            read_shard(bytes(MAX_SHARD_BYTES + 1))


@pytest.mark.parametrize("custom", [None, {}, {"shards": 0}, {"shards": 4097}, {"shards": "1"}, {"shards": 1.0}, []])
def test_a_number_of_shards_that_cannot_be_is_refused(custom: object) -> None:
    with pytest.raises(UntrustedError):
        counted(custom)
