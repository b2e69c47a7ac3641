"""Reading the audit log from the copies of several servers, and looking whether its history is what it was.

Rules:

* Nothing is shown that was not followed record by record (``model.audit``). What breaks is a **finding**: one sentence.
* What one server lacks another one has: records come from the server whose copy goes on, the longest copy first. What
  nobody has is a gap.
* All copies must agree: the newest record of each server is looked up in what was read.
* The operator's folder keeps the newest record that was seen there (``audit-head``). If that is gone or is another,
  history was written anew; even if every server agrees, because all of them were told so.
* A server may lie: each answer is bounded, and so is what is read altogether.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from boardwright.errors import FailedError, MalformedError, UnreachableError, UsageError
from boardwright.model.audit import AuditPage, AuditRecord, ChainError, Head, follow, read_line

PAGE = 500  # records asked for at once, the most that a server gives
MAX_PAGES = 2000  # a million records; ten times what a server keeps
MAX_FINDINGS = 20  # sentences; who reads them has understood by then
HEAD_FILE = "audit-head"
MAX_HEAD_FILE = 1024  # bytes; a number and a digest

Fetch = Callable[[str, int, int], AuditPage]


class Shown(msgspec.Struct, frozen=True):
    """A record with the digest of its line."""

    record: AuditRecord
    digest: str


class Reading(msgspec.Struct, frozen=True):
    """What was read: the last of the records that were asked for, the ends of all that was followed, the findings."""

    shown: tuple[Shown, ...]
    first: int
    head: Head
    findings: tuple[str, ...]


class Copies:
    """The servers that answer, the longest copy first; `silent` are the others."""

    def __init__(self, fetch: Fetch, bases: Sequence[str]) -> None:
        """Asks each for the ends of its copy; UnreachableError if none answers, RefusedError if they may not tell."""
        self._fetch = fetch
        self.pages: dict[str, AuditPage] = {}
        self.silent: list[str] = []
        for base in bases:
            try:
                self.pages[base] = fetch(base, 0, 0)
            except (UnreachableError, MalformedError):
                self.silent.append(base)
        if not self.pages:
            raise UnreachableError(
                f"no server told its copy of the audit log; asked: {', '.join(bases)}",
                hint="check that a server runs and that --operator names the right cluster",
            )
        self._order = sorted(self.pages, key=lambda base: -self.pages[base].head.number)

    @property
    def newest(self) -> int:
        """The number of the newest record that a server has."""
        return max(page.head.number for page in self.pages.values())

    @property
    def oldest(self) -> int:
        """The number of the oldest record that a server has."""
        return min((page.oldest for page in self.pages.values() if page.oldest), default=0)

    def lines(self, after: int) -> Iterator[bytes]:
        """Every line after that number; where nobody has the next, with the one after the gap."""
        for _ in range(MAX_PAGES):
            lines = self._next(after) if after < self.newest else []
            if not lines:
                return
            yield from lines
            after = read_line(lines[-1]).number
        raise FailedError(
            f"the servers have more than {MAX_PAGES * PAGE} records of the audit log", hint="one of them lies"
        )

    def _next(self, after: int) -> list[bytes]:
        best: list[bytes] = []
        for base in self._order:
            try:
                page = self._fetch(base, after, PAGE)
            except (UnreachableError, MalformedError):
                continue
            lines = _run([line.encode() for line in page.records[:PAGE]], after)
            if lines and read_line(lines[0]).number == after + 1:
                return lines
            if lines and (not best or read_line(lines[0]).number < read_line(best[0]).number):
                best = lines
        return best


def read(copies: Copies, seen: Head, wanted: Callable[[AuditRecord], bool], last: int, everything: bool) -> Reading:
    """The newest `last` records that are `wanted`; what leads to them is followed, `everything`: from the oldest on."""
    heads = {page.server: page.head for page in copies.pages.values() if page.head.number}
    known = [head.number for head in (seen, *heads.values()) if head.number]
    after = 0 if everything else max(0, min([copies.newest - last, *(number - 1 for number in known)]))
    shown: deque[Shown] = deque(maxlen=last)
    findings: list[str] = []
    digests: dict[int, str] = {}
    head: Head | None = None
    first = 0
    due = max(after + 1, copies.oldest)
    for line in copies.lines(after):
        if head is None and (begins := read_line(line).number) > due:
            findings.append(f"the audit log has a gap: records {due} to {begins - 1} are on no server that answered")
        try:
            head, record = follow(head, line)
        except ChainError as error:
            findings.append(str(error))
            head, record = follow(None, line)
        first = first or record.number
        if record.number in known:
            digests[record.number] = head.digest
        if wanted(record):
            shown.append(Shown(record, head.digest))
    head = head or Head()
    findings += _disagreements(copies, head, heads, digests)
    findings += _rewritten(copies, head, seen, digests)
    return Reading(tuple(shown), first, head, tuple(findings[:MAX_FINDINGS]))


def load_head(folder: Path) -> Head:
    """The newest record that was seen from this folder; UsageError for a file that is none."""
    path = folder / HEAD_FILE
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_HEAD_FILE), type=Head)
    except FileNotFoundError:
        return Head()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", hint="remove it, if you know why; then nothing tells what was seen"
        ) from error


def _disagreements(copies: Copies, head: Head, heads: dict[str, Head], digests: dict[int, str]) -> Iterator[str]:
    if head.number < copies.newest:
        who = ", ".join(sorted(name for name, own in heads.items() if own.number == copies.newest))
        yield (
            f"the audit log has a gap: {who} names record {copies.newest}, but no server that answered has those after "
            f"record {head.number}"
        )
    for server, own in sorted(heads.items()):
        if own.number in digests and digests[own.number] != own.digest:
            yield f"the audit log was changed: {server} has another record {own.number} than other servers"


def _rewritten(copies: Copies, head: Head, seen: Head, digests: dict[int, str]) -> Iterator[str]:
    if seen.number > copies.newest:
        yield (
            f"the audit log was cut off: it ends with record {head.number}, and record {seen.number} was seen from here"
        )
    elif seen.number in digests and digests[seen.number] != seen.digest:
        yield f"the audit log was written anew: record {seen.number} is another than the one that was seen from here"


def _run(lines: list[bytes], after: int) -> list[bytes]:
    """The first lines, as far as their numbers go on without a gap; none if they are not after `after`."""
    run: list[bytes] = []
    for line in lines:
        try:
            number = read_line(line).number
        except MalformedError:
            break
        if number <= after or (run and number != after + 1):
            break
        run.append(line)
        after = number
    return run
