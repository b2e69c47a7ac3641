"""An independent judge of every plan: it shares types with the planner but no rule, so one mistake hides no other.

A plan without findings may be committed. Every finding names the board and says what is wrong with it.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from boardwright.errors import UsageError
from boardwright.model.inventory import Board, Inventory
from boardwright.model.plan import Plan
from boardwright.model.requirement import satisfies
from boardwright.model.software import Target, variant_fits
from boardwright.planner.planner import CatalogEntry


class FindingKind(enum.Enum):
    """The values are stable: they may be stored and shown."""

    WRONG_PARENT = "wrong-parent"
    WRONG_GENERATION = "wrong-generation"
    UNKNOWN_TARGET = "unknown-target"
    REPEATED_TARGET = "repeated-target"
    BAD_INDEX = "bad-index"
    UNKNOWN_BOARD = "unknown-board"
    GROUP_TWICE = "group-twice"
    GROUP_NOT_RUN = "group-not-run"
    VARIANT_DOES_NOT_FIT = "variant-does-not-fit"
    REQUIREMENT_BROKEN = "requirement-broken"


class Finding(msgspec.Struct, frozen=True):
    """One fault; `board` is '' if it is the plan's as a whole. `str()` is the sentence."""

    kind: FindingKind
    sentence: str
    board: str = ""

    def __str__(self) -> str:
        return self.sentence


def check(plan: Plan, parent: Plan, inventory: Inventory, catalog: Iterable[CatalogEntry]) -> tuple[Finding, ...]:
    """Everything that forbids `plan` to follow on `parent`; () if nothing does."""
    requires = {entry.target: entry.requires for entry in catalog}
    findings = [*_check_ancestry(plan, parent), *_check_targets(plan, parent, requires.keys())]
    for board_id, indexes in plan.boards.items():
        if any(not 0 <= index < len(plan.targets) for index in indexes):
            sentence = f"board {board_id} refers to targets {list(indexes)} of {len(plan.targets)}"
            findings.append(Finding(FindingKind.BAD_INDEX, sentence, board_id))
            continue
        board = inventory.boards.get(board_id)
        if board is None:
            findings.append(Finding(FindingKind.UNKNOWN_BOARD, f"board {board_id} is not in the inventory", board_id))
            continue
        targets = [plan.targets[index] for index in indexes]
        findings += _check_board(board, targets)
        findings += _check_requirements(board_id, targets, _could_stay(board, parent), requires)
    return tuple(findings)


def _check_ancestry(plan: Plan, parent: Plan) -> Iterator[Finding]:
    if plan.parent != parent.generation:
        sentence = f"the plan follows on generation {plan.parent}, the current one is {parent.generation}"
        yield Finding(FindingKind.WRONG_PARENT, sentence)
    if plan.generation != parent.generation + 1:
        sentence = f"the plan has generation {plan.generation}, the next one is {parent.generation + 1}"
        yield Finding(FindingKind.WRONG_GENERATION, sentence)


def _check_targets(plan: Plan, parent: Plan, published: Iterable[Target]) -> Iterator[Finding]:
    known = {*published, *parent.targets}
    for target, count in Counter(plan.targets).items():
        name = f"{target.group} {target.version} for {target.variant} ({target.manifest[:12]})"
        if target not in known:
            yield Finding(FindingKind.UNKNOWN_TARGET, f"{name} is not published")
        if count > 1:
            yield Finding(FindingKind.REPEATED_TARGET, f"{name} stands {count} times among the targets")


def _check_board(board: Board, targets: Sequence[Target]) -> Iterator[Finding]:
    for group, count in Counter(target.group for target in targets).items():
        if count > 1:
            sentence = f"board {board.id} has {count} targets of {group}"
            yield Finding(FindingKind.GROUP_TWICE, sentence, board.id)
        if group not in board.groups:
            sentence = f"board {board.id} has a target of {group}, which it does not run"
            yield Finding(FindingKind.GROUP_NOT_RUN, sentence, board.id)
    for target in targets:
        if not variant_fits(target.variant, board.type):
            sentence = f"board {board.id} of type {board.type} has {target.group} {target.version} for {target.variant}"
            yield Finding(FindingKind.VARIANT_DOES_NOT_FIT, sentence, board.id)


def _check_requirements(
    board: str, targets: Sequence[Target], before: Sequence[Target], requires: dict[Target, dict[str, str]]
) -> Iterator[Finding]:
    """A new target has what it requires; a kept one does not lose it to another version."""
    for target in targets:
        for group, requirement in requires.get(target, {}).items():
            if _any_meets(targets, group, requirement):
                continue
            replaced = any(other.group == group for other in targets)
            if target not in before or (replaced and _any_meets(before, group, requirement)):
                sentence = f"board {board}: {target.group} {target.version} requires {group} {requirement}"
                yield Finding(FindingKind.REQUIREMENT_BROKEN, f"{sentence}, which is not planned", board)


def _any_meets(targets: Sequence[Target], group: str, requirement: str) -> bool:
    try:
        return any(target.group == group and satisfies(target.version, requirement) for target in targets)
    except UsageError:
        return False


def _could_stay(board: Board, parent: Plan) -> tuple[Target, ...]:
    """What the board had and could go on running: its groups and its type may have changed since."""
    had = (parent.targets[index] for index in parent.boards.get(board.id, ()))
    return tuple(target for target in had if target.group in board.groups and variant_fits(target.variant, board.type))
