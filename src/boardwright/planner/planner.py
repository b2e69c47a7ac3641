"""From what the operator wants to what every board shall run now.

Rules:

* The policy decides for every board and group that the board runs; a board that joins late gets its targets by the
  same policy in the next plan. What no assignment names stays as it is.
* A wanted version must be published in exactly one variant that fits the board's type, must be allowed by the strategy
  to change now, and must go together with whatever else the board shall run. Else the board keeps what it has, and
  the reason is named.
* Where the policy wants no version of a group (NO_VERSION), the plan names none.
* A board keeps nothing that it cannot run: targets of boards that left, of groups that left their board, and of
  variants for another type go.
* If nothing changes there is no new plan. The same inputs give the same plan, byte for byte.
* The cost is one look per board and group; see ``wishes`` for why the policy's length hardly matters.
"""

import enum
import fnmatch
from collections.abc import Iterable, Mapping

import msgspec

from boardwright.model.api import PlanChange
from boardwright.model.inventory import Board, Inventory
from boardwright.model.plan import Plan
from boardwright.model.policy import NO_VERSION, Policy
from boardwright.model.software import Target
from boardwright.planner.diff import diff
from boardwright.planner.reason import Reason, group_not_run, no_variant, not_published, several_variants
from boardwright.planner.requirements import refusal, settle
from boardwright.planner.safety import MayChange, all_at_once
from boardwright.planner.wishes import Wishes


class CatalogEntry(msgspec.Struct, frozen=True):
    """A published version: its target, what it requires of other groups, and the board types (globs) it fits."""

    target: Target
    requires: dict[str, str] = {}
    board_types: tuple[str, ...] = ("*",)

    def fits(self, board_type: str) -> bool:
        return any(fnmatch.fnmatchcase(board_type, glob) for glob in self.board_types or ("*",))


class Outcome(enum.Enum):
    """What planning came to."""

    NEW_PLAN = "new plan"
    NOTHING_TO_CHANGE = "nothing to change"


class Proposal(msgspec.Struct, frozen=True):
    """`changes` are the steps of `plan`; `reasons` says by (board, group) why what is wanted is not planned."""

    plan: Plan | None
    changes: tuple[PlanChange, ...]
    reasons: dict[tuple[str, str], Reason]
    refused: tuple[PlanChange, ...] = ()

    @property
    def outcome(self) -> Outcome:
        return Outcome.NOTHING_TO_CHANGE if self.plan is None else Outcome.NEW_PLAN


def plan(
    policy: Policy,
    inventory: Inventory,
    catalog: Iterable[CatalogEntry],
    parent: Plan,
    *,
    may_change: MayChange = all_at_once,
) -> Proposal:
    """The plan that follows on `parent`, or none if nothing is to change, with a named reason for every wish not met.

    `refused` are the wishes not met as changes: `before` is what the board keeps, `after` what was wanted.
    """
    return _Planner(policy, catalog, may_change).plan(inventory, parent)


class _Wanted(msgspec.Struct, frozen=True):
    """What the policy names for one board and group, and the target it comes to; None has its reason."""

    version: str
    target: Target | None
    reason: Reason | None = None


class _Planner:
    def __init__(self, policy: Policy, catalog: Iterable[CatalogEntry], may_change: MayChange) -> None:
        self._wishes = Wishes(policy)
        self._may_change = may_change
        self._versions: dict[tuple[str, str], list[CatalogEntry]] = {}
        self._entries: dict[Target, CatalogEntry] = {}
        for entry in catalog:
            self._entries[entry.target] = entry
            self._versions.setdefault((entry.target.group, entry.target.version), []).append(entry)
        self._requires = {target: entry.requires for target, entry in self._entries.items() if entry.requires}
        self._resolved: dict[tuple[str, str, str], _Wanted] = {}
        self._reasons: dict[tuple[str, str], Reason] = {}
        self._refused: list[PlanChange] = []

    def plan(self, inventory: Inventory, parent: Plan) -> Proposal:
        boards = {}
        for board_id, board in sorted(inventory.boards.items()):
            present = self._present(board, parent)
            wanted = self._wanted(board)
            targets = self._settle(board, present, wanted)
            self._explain(board, present, wanted, targets)
            if targets:
                boards[board_id] = targets
        following = _following(parent, boards)
        changes = diff(parent, following)
        return Proposal(following if changes else None, changes, self._reasons, tuple(self._refused))

    def _present(self, board: Board, parent: Plan) -> dict[str, Target]:
        """What the board has and can go on running."""
        return {
            group: target
            for group, target in parent.for_board(board.id).groups.items()
            if group in board.groups and self._fits(target, board.type) and not self._withdrawn(board, group)
        }

    def _withdrawn(self, board: Board, group: str) -> bool:
        assignment = self._wishes.wanted(board, group)
        return assignment is not None and assignment.version == NO_VERSION

    def _fits(self, target: Target, board_type: str) -> bool:
        entry = self._entries.get(target) or CatalogEntry(target, {}, tuple(target.variant.split(",")))
        return entry.fits(board_type)

    def _wanted(self, board: Board) -> dict[str, _Wanted]:
        """What the policy wants, by group; a group that the board does not run only if a selector picked the board."""
        wanted = {}
        for group in self._wishes.groups():
            assignment = self._wishes.wanted(board, group)
            if assignment is None or assignment.version == NO_VERSION:
                continue
            if group in board.groups:
                wanted[group] = self._resolve(group, assignment.version, board.type)
            elif assignment.selectors:
                wanted[group] = _Wanted(assignment.version, None, group_not_run(group))
        return wanted

    def _resolve(self, group: str, version: str, board_type: str) -> _Wanted:
        """The one variant of a version for a board type, or the reason why there is not one."""
        key = (group, version, board_type)
        if key not in self._resolved:
            published = self._versions.get((group, version), [])
            fitting = [entry.target for entry in published if entry.fits(board_type)]
            if len(fitting) == 1:
                wanted = _Wanted(version, fitting[0])
            elif fitting:
                variants = [target.variant for target in fitting]
                wanted = _Wanted(version, None, several_variants(group, version, board_type, variants))
            elif published:
                wanted = _Wanted(version, None, no_variant(group, version, board_type))
            else:
                wanted = _Wanted(version, None, not_published(group, version))
            self._resolved[key] = wanted
        return self._resolved[key]

    def _settle(
        self, board: Board, present: Mapping[str, Target], wanted: Mapping[str, _Wanted]
    ) -> Mapping[str, Target]:
        """What the board shall run: what is wanted as far as requirements and strategy let it, else what it has."""
        targets = {group: wish.target for group, wish in wanted.items() if wish.target is not None}
        settled = settle(present, targets, self._requires)
        if settled == present:
            return present
        reason = self._may_change(board)
        if reason is None:
            return settled
        for group in settled:
            if settled[group] != present.get(group):
                self._reasons[board.id, group] = reason
        return present

    def _explain(
        self,
        board: Board,
        present: Mapping[str, Target],
        wanted: Mapping[str, _Wanted],
        targets: Mapping[str, Target],
    ) -> None:
        """Name the reason for every wish that the board's targets do not meet."""
        for group, wish in sorted(wanted.items()):
            kept = targets.get(group)
            if wish.target is not None and kept == wish.target:
                continue
            reason = self._reasons.get((board.id, group)) or wish.reason
            if reason is None and wish.target is not None:
                reason = refusal(targets, wish.target, self._requires)
            if reason is not None:
                self._reasons[board.id, group] = reason
                before = kept.version if kept else None
                self._refused.append(PlanChange(board.id, group, before, wish.version, str(reason)))


def _following(parent: Plan, boards: Mapping[str, Mapping[str, Target]]) -> Plan:
    targets = sorted({target for groups in boards.values() for target in groups.values()})
    index = {target: number for number, target in enumerate(targets)}
    return Plan(
        generation=parent.generation + 1,
        parent=parent.generation,
        targets=tuple(targets),
        boards={board: tuple(sorted(index[target] for target in groups.values())) for board, groups in boards.items()},
    )
