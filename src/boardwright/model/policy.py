"""What the operator wants: which version of a group which boards should run.

A policy is a list of assignments; for one board and group the last one that matches wins, so ``deploy`` appends
and a deploy to every board of a group makes the earlier ones of that group void.
"""

import fnmatch

import msgspec

from boardwright.errors import UsageError
from boardwright.model.inventory import Board

NO_VERSION = ""
SELECTOR_KEYS = ("board", "chassis", "slot", "type")


class Selector(msgspec.Struct, frozen=True):
    """``key=glob`` terms joined by AND; no terms select every board."""

    terms: tuple[tuple[str, str], ...] = ()

    def matches(self, board: Board) -> bool:
        facts = {
            "board": board.id,
            "chassis": board.location.chassis,
            "slot": board.location.slot,
            "type": board.type,
        }
        return all(fnmatch.fnmatchcase(facts[key], glob) for key, glob in self.terms)

    def __str__(self) -> str:
        return ",".join(f"{key}={glob}" for key, glob in self.terms) or "*"


class Assignment(msgspec.Struct, frozen=True):
    """One wish: boards that match any selector (none: every board) run `version` of `group`; NO_VERSION: none of it."""

    group: str
    version: str
    selectors: tuple[Selector, ...] = ()

    def matches(self, board: Board) -> bool:
        return not self.selectors or any(selector.matches(board) for selector in self.selectors)


class Policy(msgspec.Struct, frozen=True):
    assignments: tuple[Assignment, ...] = ()

    def assign(self, assignment: Assignment) -> "Policy":
        """The policy with `assignment` on top; what it makes void is dropped."""
        kept = self.assignments
        if not assignment.selectors:
            kept = tuple(old for old in kept if old.group != assignment.group)
        else:
            kept = tuple(old for old in kept if (old.group, old.selectors) != (assignment.group, assignment.selectors))
        return Policy((*kept, assignment))

    def wanted(self, board: Board, group: str) -> Assignment | None:
        for assignment in reversed(self.assignments):
            if assignment.group == group and assignment.matches(board):
                return assignment
        return None


def parse_selector(text: str) -> Selector:
    """Read ``key=glob[,key=glob...]``; a bare word is a board glob. Raises UsageError."""
    terms = []
    for part in text.split(","):
        key, equals, glob = part.strip().partition("=")
        if not equals:
            key, glob = "board", key
        if key not in SELECTOR_KEYS:
            raise UsageError(f"selector {text!r} has the key {key!r}", hint=f"keys are {', '.join(SELECTOR_KEYS)}")
        if not glob:
            raise UsageError(f"selector {text!r} has no value for {key!r}", hint="write key=glob, e.g. chassis=2")
        terms.append((key, glob))
    return Selector(tuple(terms))
