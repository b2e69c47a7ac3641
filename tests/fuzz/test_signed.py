"""Hypothesis feeds the targets of what is signed: arbitrary bytes, and good inputs with something changed."""

import tracemalloc

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import signed
from tests.fuzz.makers import mutate
from tests.fuzz.values import CHANGES, VALUES, changed, json

FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
ROLES = [signed.GOOD.roles[name] for name in signed.ROLES]
TREES = [msgspec.json.decode(one) for one in ROLES]


class TestAnything:
    @pytest.mark.parametrize("target", signed.SIGNED)
    @FEW
    @given(data=st.one_of(st.binary(max_size=1300), VALUES.map(json)))
    def test_is_read_or_refused(self, target: str, data: bytes) -> None:
        signed.SIGNED[target](data)

    @pytest.mark.parametrize("target", signed.SEEDS)
    @FEW
    @given(changes=CHANGES)
    def test_that_was_good_and_has_bytes_changed(self, target: str, changes: list[tuple[int, int, bytes]]) -> None:
        signed.SIGNED[target](mutate(signed.SEEDS[target](), changes))


class TestMetadata:
    @MANY
    @given(st.integers(0, len(TREES) - 1).flatmap(lambda at: st.tuples(st.just(at), changed(TREES[at]))))
    def test_with_a_value_changed_that_the_right_key_has_signed(self, one: tuple[int, object]) -> None:
        at, tree = one
        first = next(number for number in range(128, 256) if number % len(ROLES) == at)
        signed.metadata(bytes((first,)) + json(tree))

    @MANY
    @given(changed(TREES[-1]))
    def test_of_a_vendor_with_a_value_changed(self, tree: object) -> None:
        signed.role(json(tree))

    @pytest.mark.parametrize("item", [b"[]", b"{}", b"0", b'"ab"'])
    @pytest.mark.parametrize("target", ["role", "metadata"])
    def test_as_long_as_they_are_read_take_bounded_memory(self, target: str, item: bytes) -> None:
        """A board's agent may take 80 MiB at its peak, and has 53 when it is idle."""
        data = b'{"signatures":[],"signed":[' + (item + b",") * (4_990_000 // (len(item) + 1)) + item + b"]}"
        tracemalloc.start()
        try:
            signed.SIGNED[target](b"\x02" + data if target == "metadata" else data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 20 * 1024 * 1024


class TestRequestsToJoin:
    @MANY
    @given(changed(msgspec.json.decode(signed.good_joining())))
    def test_with_a_value_changed(self, tree: object) -> None:
        signed.join(json(tree))


class TestPartsOfPlans:
    @MANY
    @given(changed(msgspec.json.decode(signed.SEEDS["shard"]())))
    def test_with_a_value_changed(self, tree: object) -> None:
        signed.shard(json(tree))

    @pytest.mark.parametrize("item", ['"b%d":[]', '"b%d":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]'])
    def test_as_long_as_they_are_read_take_bounded_memory(self, item: str) -> None:
        data = json({"generation": 1})[:-1] + b',"boards":{'
        number = 0
        while len(data) < 3_900_000:
            data += ",".join(item % one for one in range(number, number + 10_000)).encode() + b","
            number += 10_000
        tracemalloc.start()
        try:
            signed.shard(data[:4_000_000].rpartition(b",")[0] + b"}}")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 20 * 1024 * 1024
