"""A server's own copy of the audit log: lines in files that are only ever added to.

Rules:

* Every server copies the records from the state as they come, so that an active that writes the log anew, or cuts its
  end off, contradicts the copies of all others. Then the copy is **set aside** as it is, an alarm sounds until
  somebody has moved it away, and a new one begins with what the state has now. Restoring the state from a backup looks
  the same. Of several, the first ``SET_ASIDE`` are kept: what was honest is in the oldest.
* Records that were trimmed from the state while this server was away are a gap: its copy goes on with the next one, in
  a file of its own. Other servers have them.
* A file has the number of its first record for its name and ``SEGMENT`` records at most, one a line, without a gap. A
  torn last line is cut off at the start and copied again. The oldest files go beyond ``SEGMENTS``.
* A disk that is full costs the copy, not the service: what could not be written waits in memory, as many records as
  the state has, and an alarm sounds.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from boardwright import log
from boardwright.errors import ConflictError, MalformedError
from boardwright.model.audit import AuditPage, Head, read_line
from boardwright.model.software import digest_of
from boardwright.server.alarms import AlarmKind, Alarms
from boardwright.server.audit_log import KEPT
from boardwright.state.kv import Change, Snapshot
from boardwright.state.records import AUDIT_HEAD, AuditHead, audit_number
from boardwright.transfer.durable import make_directory, sync_directory

SEGMENT = 1000  # records, about 0.5 MB: read as a whole
SEGMENTS = 100  # files: 100,000 records, some 50 MB of a control board's flash; a busy cluster writes a hundred a day
SET_ASIDE = 3  # copies; the first is what tells, the others say that it went on
MAX_PAGE = 500  # records of one answer: 0.25 MB, and never more than 16 MB
SUBJECT = "audit"  # of the alarms
_log = log.get("server.audit")


class AuditCopy:
    """``reset`` and ``apply`` are called by one follower, ``page`` by anybody; `folder` is made when it is needed."""

    def __init__(self, folder: Path, server: str, alarms: Alarms) -> None:
        self._folder = folder
        self._server = server
        self._alarms = alarms
        self._waiting: dict[int, bytes] = {}
        self._digests: dict[int, str] = {}
        self._file: Path | None = None
        self._first = 0
        self._size = 0
        self.head = Head()
        self._load()

    def reset(self, snapshot: Snapshot) -> None:
        """Everything that the state has."""
        values = {entry.key: entry.value for entry in snapshot.entries}
        lines, end = _lines(values), _end(values.get(AUDIT_HEAD)) or 0
        number = self._contradicted(lines, end)
        if number:
            self._set_aside(number)
        self._copy(lines)

    def apply(self, changes: Sequence[Change]) -> None:
        """What was changed since, in order. ConflictError if all must be read anew."""
        values = {change.key: change.value for change in changes if change.value is not None}
        lines = _lines(values)
        number = self._contradicted(lines, _end(values.get(AUDIT_HEAD)))
        if number:
            self._set_aside(number)
            raise ConflictError("the audit log in the state is another than the copy here")
        if lines or self._waiting:
            self._copy(lines)

    def page(self, after: int, limit: int) -> AuditPage:
        """At most `limit` lines after the record with this number."""
        records: list[str] = []
        files = self._files()
        begun = max((at for at, path in enumerate(files) if _first_of(path) <= after + 1), default=0)
        for path in files[begun:]:
            if len(records) >= limit:
                break
            skipped = max(0, after + 1 - _first_of(path))
            with contextlib.suppress(OSError):  # set aside, or the oldest, at this moment
                records += [line.decode() for line in _whole_lines(path)[skipped:][: limit - len(records)]]
        return AuditPage(self._server, _first_of(files[0]) if files else 0, self.head, tuple(records))

    def look(self) -> None:
        """Sound the alarm while a copy lies aside, end it when somebody has moved it away."""
        aside = self._aside()
        if aside:
            self._alarms.sound(
                AlarmKind.AUDIT,
                SUBJECT,
                f"the audit log was written anew, or the state was restored from a backup; what was copied before lies "
                f"in {aside[0]}: look at it, and move it away",
            )
        else:
            self._alarms.clear(AlarmKind.AUDIT, SUBJECT)

    def _contradicted(self, lines: dict[int, bytes], end: int | None) -> int:
        """The number of a record that goes not with this copy, 0 if all do."""
        if end is not None and end < self.head.number:
            return end + 1
        for number, line in lines.items():
            known = self._digests.get(number)
            if known is not None and known != digest_of(line):
                return number
        follower = lines.get(self.head.number + 1)
        goes_on = follower is None or not self.head.number or read_line(follower).before == self.head.digest
        return 0 if goes_on else self.head.number + 1

    def _copy(self, lines: dict[int, bytes]) -> None:
        """Add what is new; what the disk does not take waits."""
        self._waiting |= {number: line for number, line in lines.items() if number > self.head.number}
        for number in sorted(self._waiting)[:-KEPT]:
            del self._waiting[number]
        try:
            while self._waiting:
                self._write(self._next_run())
            self._alarms.clear(AlarmKind.DISK, SUBJECT)
        except OSError as error:
            sentence = f"the copy of the audit log {self._folder} cannot be written: {error.strerror or error}"
            self._alarms.sound(AlarmKind.DISK, SUBJECT, sentence)

    def _next_run(self) -> list[int]:
        """Numbers that wait and go into one file, without a gap."""
        first = min(self._waiting)
        goes_on = self._file is not None and first == self.head.number + 1 and first - self._first < SEGMENT
        if not goes_on:
            if self.head.number and first != self.head.number + 1:
                _log.warning("records of the audit log are missing here", after=self.head.number, until=first)
            self._file, self._first, self._size = self._folder / f"{first:012d}.jsonl", first, 0
        last = first
        while last + 1 in self._waiting and last + 1 - self._first < SEGMENT:
            last += 1
        return list(range(first, last + 1))

    def _write(self, numbers: list[int]) -> None:
        path = self._file
        if path is None:
            return
        data = b"".join(self._waiting[number] + b"\n" for number in numbers)
        new = not self._size
        if new:
            make_directory(self._folder)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
            file.truncate(self._size)  # what a full disk left of the last try
            file.seek(self._size)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_directory(self._folder)
            for old in self._files()[:-SEGMENTS]:
                old.unlink(missing_ok=True)
        self._size += len(data)
        for number in numbers:
            self._know(number, self._waiting.pop(number))

    def _know(self, number: int, line: bytes) -> None:
        self.head = Head(number, digest_of(line))
        self._digests[number] = self.head.digest
        self._digests.pop(number - KEPT, None)

    def _set_aside(self, number: int) -> None:
        aside = self._folder.with_name(f"{self._folder.name}-until-{number - 1:012d}-{self.head.digest[:8]}")
        _log.error("the audit log was written anew", record=number, kept=str(aside))
        try:
            if len(self._aside()) < SET_ASIDE and not aside.exists():
                self._folder.rename(aside)
            else:
                shutil.rmtree(self._folder)
            sync_directory(self._folder.parent)
        except FileNotFoundError:
            pass  # nothing was written yet
        except OSError as error:
            self._alarms.sound(AlarmKind.DISK, SUBJECT, f"{self._folder} cannot be set aside: {error.strerror}")
            raise
        self._waiting, self._digests, self._file, self._size, self.head = {}, {}, None, 0, Head()
        self.look()

    def _aside(self) -> list[Path]:
        return sorted(self._folder.parent.glob(f"{self._folder.name}-until-*"))

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.jsonl") if path.stem.isdigit())

    def _load(self) -> None:
        """Go on where the files end: two are read, which have what the state still has."""
        for path in self._files()[-2:]:
            lines = _sound_lines(path)
            self._file, self._first, self._size = path, _first_of(path), sum(len(line) + 1 for line in lines)
            for number, line in enumerate(lines, start=self._first):
                self._know(number, line)
        self.look()


def _lines(values: dict[str, bytes]) -> dict[int, bytes]:
    """The records among these values by their numbers, those that cannot be read left out."""
    found = {}
    for key, value in values.items():
        number = audit_number(key)
        if number:
            try:
                if read_line(value).number == number:
                    found[number] = value
            except MalformedError as error:
                _log.error("record not understood, not copied", key=key, error=str(error))
    return found


def _end(value: bytes | None) -> int | None:
    if value is None:
        return None
    try:
        return msgspec.json.decode(value, type=AuditHead).number
    except msgspec.MsgspecError:
        return None


def _first_of(path: Path) -> int:
    return int(path.stem)


def _whole_lines(path: Path) -> list[bytes]:
    """Every line that has an end."""
    return path.read_bytes().split(b"\n")[:-1]


def _sound_lines(path: Path) -> list[bytes]:
    """The lines up to the first that is none: after a power cut the last ones may be anything."""
    sound = []
    for number, line in enumerate(_whole_lines(path), start=_first_of(path)):
        try:
            if read_line(line).number != number:
                break
        except MalformedError:
            break
        sound.append(line)
    return sound
