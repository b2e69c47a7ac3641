"""The replicated state as decisions need it: one consistent reading, with the revisions that a change must compare.

Decisions are never made on the local copy: it may lag, and a plan made from a catalog that lags would take
software away from boards.
"""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from boardwright import log
from boardwright.errors import FailedError
from boardwright.model.inventory import Board, Inventory
from boardwright.model.plan import Plan
from boardwright.model.policy import Policy
from boardwright.model.upgrade import UpgradeRecord
from boardwright.state.kv import KV, Entry
from boardwright.state.records import (
    BOARDS,
    CATALOG,
    HELD,
    PLAN,
    POLICY,
    RETRIES,
    ROLLOUTS,
    UPGRADE,
    CatalogRecord,
    HeldRecord,
    RetryRecord,
    RolloutRecord,
    encode_record,
)

_T = TypeVar("_T")
_log = log.get("server.facts")


class Facts(msgspec.Struct, frozen=True):
    """`revisions` holds the revision of every key read; what is not there has 0.

    `upgrade` is None as well if its record is of a form that this release does not know.
    """

    policy: Policy
    plan: Plan
    inventory: Inventory
    catalog: dict[str, CatalogRecord]
    rollouts: dict[str, RolloutRecord]
    held: dict[str, HeldRecord]
    retries: dict[str, RetryRecord]
    revisions: dict[str, int]
    upgrade: UpgradeRecord | None = None

    def compare(self, *keys: str) -> dict[str, int]:
        """The compares of a change that holds only if these keys are as they were read."""
        return {key: self.revisions.get(key, 0) for key in keys}


def read_facts(kv: KV) -> Facts:
    """Read everything at one revision; EngineError, or FailedError for a policy or plan that cannot be read."""
    entries = {entry.key: entry for entry in kv.range("").entries}
    return Facts(
        policy=_required(entries.get(POLICY), Policy, Policy()),
        plan=_required(entries.get(PLAN), Plan, Plan()),
        inventory=Inventory(_table(entries, BOARDS, Board)),
        catalog=_table(entries, CATALOG, CatalogRecord),
        rollouts=_table(entries, ROLLOUTS, RolloutRecord),
        held=_table(entries, HELD, HeldRecord),
        retries=_table(entries, RETRIES, RetryRecord),
        upgrade=_table(entries, UPGRADE, UpgradeRecord).get(""),
        revisions={key: entry.revision for key, entry in entries.items()},
    )


def encoded(record: msgspec.Struct) -> bytes:
    """A record as the state keeps it."""
    return encode_record(record)


def _required(entry: Entry | None, record_type: type[_T], absent: _T) -> _T:
    if entry is None:
        return absent
    try:
        return msgspec.json.decode(entry.value, type=record_type)
    except msgspec.MsgspecError as error:
        raise FailedError(
            f"the record {entry.key!r} of the state cannot be read by this release",
            hint="a newer release wrote it; upgrade this server",
        ) from error


def _table(entries: Mapping[str, Entry], prefix: str, record_type: type[_T]) -> dict[str, _T]:
    table = {}
    for key, entry in entries.items():
        if key.startswith(prefix):
            try:
                table[key.removeprefix(prefix)] = msgspec.json.decode(entry.value, type=record_type)
            except msgspec.MsgspecError as error:
                _log.warning("record not understood, left out", key=key, error=str(error))
    return table
