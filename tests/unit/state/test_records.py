"""Records carry the version of their form, and the release before can read what the next one wrote."""

import msgspec
import pytest

from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.plan import Plan
from boardwright.model.policy import Assignment, Policy
from boardwright.model.software import Target
from boardwright.state.records import (
    SCHEMA,
    CatalogRecord,
    LeaseRecord,
    RolloutRecord,
    ServerRecord,
    encode_record,
)

RECORDS = [
    LeaseRecord("c1s1", 3, 7),
    Policy((Assignment("platform", "1"),)),
    Plan(2, 1, (Target("platform", "1", "*", "a" * 64),), {"c1s3": (0,)}),
    Board("c1s3", Location("1", "3"), "lc", ("platform",)),
    ServerRecord("c1s1", "1", "1", "https://a:1", "https://a:2", "0.1"),
    CatalogRecord("platform", "1", "*", "a" * 64, 10, 1.5),
    RolloutRecord("r1", "platform", "1", (), "all-at-once", 2, 1.5),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_record_says_its_schema_and_is_read_back(record: msgspec.Struct) -> None:
    data = encode_record(record)
    assert msgspec.json.decode(data)["schema"] == SCHEMA
    assert msgspec.json.decode(data, type=type(record)) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_what_a_later_release_adds_is_ignored(record: msgspec.Struct) -> None:
    later = {**msgspec.json.decode(encode_record(record)), "schema": SCHEMA + 1, "new": [1]}
    assert msgspec.json.decode(msgspec.json.encode(later), type=type(record)) == record
