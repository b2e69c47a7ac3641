"""The file of a backup: what is in it, and what is refused before anything in it is believed."""

import msgspec
import pytest

from boardwright.errors import UsageError
from boardwright.model import backup as module
from boardwright.model.backup import read_backup, write_backup
from boardwright.model.software import digest_of

ENTRIES = [("plan", b'{"generation":7}'), ("policy", b"{}"), ("odd", b"\xff\x00")]


def written(entries: list[tuple[str, bytes]] | None = None) -> bytes:
    chosen = ENTRIES if entries is None else entries
    return write_backup(chosen, cluster="core1", generation=7, revision=40, at=1000.0, release="0.1.0")


def altered(data: bytes, **fields: object) -> bytes:
    first, _, body = data.partition(b"\n")
    head = {**msgspec.json.decode(first), "sha256": digest_of(body), **fields}
    return msgspec.json.encode(head) + b"\n" + body


def sentence(data: bytes) -> str:
    with pytest.raises(UsageError) as refused:
        read_backup(data, "file")
    return str(refused.value)


def test_what_was_written_is_read_whatever_the_bytes_are() -> None:
    found = read_backup(written())
    assert found.entries == dict(ENTRIES)
    assert (found.head.cluster, found.head.generation, found.head.revision, found.head.entries) == ("core1", 7, 40, 3)


def test_it_is_text_a_line_for_each_entry() -> None:
    lines = written().decode().splitlines()
    assert len(lines) == 4
    assert lines[1] == '{"key":"plan","text":"{\\"generation\\":7}"}'


def test_the_lease_registrations_tokens_and_restores_are_not_in_it() -> None:
    keys = ["lease/active", "servers/c1s1", "tokens/ab", "restore/last", "boards/c1s3"]
    assert list(read_backup(written([(key, b"{}") for key in keys])).entries) == ["boards/c1s3"]


def test_every_damage_of_an_entry_is_seen() -> None:
    data = written()
    for place in range(len(data.partition(b"\n")[0]), len(data)):
        with pytest.raises(UsageError):
            read_backup(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_a_file_that_was_cut_off_is_refused() -> None:
    assert "is damaged" in sentence(written()[:-5])
    assert "is damaged" in sentence(written().partition(b"\n")[0])


@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b"\xff\xfe\n", b"[" * 100_000])
def test_what_is_no_backup_is_refused(data: bytes) -> None:
    assert sentence(data) == "file is no backup of a cluster"


def test_a_later_form_is_refused() -> None:
    assert "is a backup of the form 2, this release reads 1" in sentence(altered(written(), boardwright_backup=2))


def test_keys_that_do_not_belong_into_it_are_refused_and_keys_that_come_twice() -> None:
    body = b'{"key":"lease/active","text":"{}"}\n'
    head = altered(written([]), entries=1, sha256=digest_of(body))
    assert "'lease/active', which is not its place" in sentence(head + body)
    twice = b'{"key":"plan","text":"{}"}\n' * 2
    assert "line 3 has the key 'plan'" in sentence(altered(written([]), entries=2, sha256=digest_of(twice)) + twice)


def test_another_number_of_entries_than_the_first_line_says_is_refused() -> None:
    assert "has 3 entries, its first line says 2" in sentence(altered(written(), entries=2))


def test_a_file_that_is_too_large_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BACKUP", 100)
    assert sentence(b"x" * 101) == "file has more than 100 bytes"
