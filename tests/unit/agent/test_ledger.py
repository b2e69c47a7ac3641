"""The ledger: durable, readable by the release before, never in the way of a board that must come up."""

import json
from pathlib import Path

import pytest

from boardwright.agent import deployment as d
from boardwright.agent.downloads import Account
from boardwright.agent.ledger import SCHEMA, KnownServer, Ledger, Record
from boardwright.model.location import Tier
from boardwright.model.report import Source
from boardwright.model.software import Target

OLD = Target("routing", "8.4.3", "*", "a" * 64)
NEW = Target("routing", "8.4.4", "*", "b" * 64)
RECORD = Record(
    generation=7,
    sequence=42,
    servers={"c1s1": KnownServer("https://10.0.1.1:6688")},
    groups={
        "routing": d.Deployment(
            "routing",
            phase=d.Activating(target=NEW, since=12.0, attempt=1),
            running=OLD,
            previous=NEW,
            wanted=NEW,
            bad=(d.BadVersion("c" * 64, "sick"),),
        )
    },
    accounts={"routing": Account({Tier.ELSEWHERE: 12}, 12, 1, Source("c2s1", "2", "1", Tier.ELSEWHERE))},
)


def test_gives_back_what_was_saved(tmp_path: Path) -> None:
    Ledger(tmp_path).save(RECORD)
    assert Ledger(tmp_path).load() == RECORD


def test_is_empty_on_a_blank_board(tmp_path: Path) -> None:
    assert Ledger(tmp_path).load() == Record()


def test_says_its_schema_version(tmp_path: Path) -> None:
    Ledger(tmp_path).save(RECORD)
    assert json.loads((tmp_path / "ledger.json").read_text())["schema"] == SCHEMA


def test_is_not_written_when_only_a_deadline_moved(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    downloading = d.Downloading(target=NEW, since=1.0, deadline=61.0)
    ledger.save(Record(groups={"routing": d.Deployment("routing", phase=downloading)}))
    before = ledger.path.stat()
    later = d.Downloading(target=NEW, since=1.0, deadline=99.0)
    ledger.save(Record(groups={"routing": d.Deployment("routing", phase=later)}))
    assert ledger.path.stat().st_mtime_ns == before.st_mtime_ns
    assert ledger.path.stat().st_ino == before.st_ino


def test_fields_of_a_newer_release_are_ignored_and_kept(tmp_path: Path) -> None:
    Ledger(tmp_path).save(RECORD)
    path = tmp_path / "ledger.json"
    newer = json.loads(path.read_text())
    newer["schema"] = 2
    newer["clock_floor"] = 1234
    newer["groups"]["routing"]["slots"] = ["A", "B"]
    path.write_text(json.dumps(newer))
    ledger = Ledger(tmp_path)
    assert ledger.load().groups == RECORD.groups
    ledger.save(RECORD)
    kept = json.loads(path.read_text())
    assert kept["clock_floor"] == 1234
    assert kept["groups"]["routing"]["slots"] == ["A", "B"]


def test_a_group_in_a_state_of_a_newer_release_is_left_out(tmp_path: Path) -> None:
    Ledger(tmp_path).save(RECORD)
    path = tmp_path / "ledger.json"
    newer = json.loads(path.read_text())
    newer["groups"]["routing"]["phase"] = {"state": "dreaming"}
    newer["accounts"]["routing"]["bytes"] = {"other-planet": 1}
    path.write_text(json.dumps(newer))
    record = Ledger(tmp_path).load()
    assert record.groups == {}
    assert record.accounts == {}
    assert record.generation == 7


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"generation": "many"}'])
def test_a_file_that_cannot_be_read_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.json").write_bytes(content)
    ledger = Ledger(tmp_path)
    assert ledger.load() == Record()
    assert (tmp_path / "ledger.json.unreadable").read_bytes() == content
    ledger.save(RECORD)
    assert Ledger(tmp_path).load() == RECORD


def test_a_write_that_was_cut_off_leaves_the_old_content(tmp_path: Path) -> None:
    Ledger(tmp_path).save(RECORD)
    (tmp_path / ".ledger.json.new").write_bytes(b'{"generation": 8, "gro')
    assert Ledger(tmp_path).load() == RECORD
