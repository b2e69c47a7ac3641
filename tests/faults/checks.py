"""What must be true of a board's disk: never a third state, nothing lost that was promised, nothing left behind."""

from pathlib import Path

import msgspec

from boardwright.agent.ledger import Record
from boardwright.model.software import digest_of
from tests.faults.board import in_place
from tests.faults.partition import PARTITION
from tests.faults.versions import GROUP, Made, tree_at


def name_of(made: Made) -> str:
    return f"{made.version}-{made.target.manifest[:12]}"


def check_state(directory: Path, allowed: tuple[Made | None, ...], others: tuple[Made, ...] = ()) -> Made | None:
    """`current` leads to one of `allowed`, whole: every byte, mode and link. Answers which.

    So is whatever counts as staged, `others` included: it may be activated without another look.
    """
    link = in_place(directory)
    versions = {f"versions/{name_of(made)}" if made else "": made for made in allowed}
    assert link in versions, f"third state: current leads to {link or 'nothing'}"
    made = versions[link]
    assert made is None or _complete(directory, made), f"third state: {link} is not complete"
    for one in {*allowed, *others} - {None}:
        if one is not None and _complete(directory, one):
            found = tree_at(directory / "root" / GROUP / "versions" / name_of(one))
            wrong = sorted(set(found.items()) ^ set(one.tree.items()))
            assert not wrong, f"{one.version} counts as complete: {[(path, facts[:2]) for path, facts in wrong[:4]]}"
    return made


def _complete(directory: Path, made: Made) -> bool:
    """Whether an installer would take it for staged."""
    group, name = directory / "root" / GROUP, name_of(made)
    manifest = group / "manifests" / name
    if not manifest.exists() or not (group / "versions" / name).is_dir():
        return False
    return digest_of(manifest.read_bytes()) == made.target.manifest


def check_ledger(directory: Path, promised: bytes | None, coming: bytes | None) -> None:
    """The ledger is the one that was promised, or the next one that was being written."""
    path = directory / "state" / "ledger.json"
    data = path.read_bytes() if path.exists() else None
    assert data in (promised, coming), "the ledger is neither the promised nor the next one"


def check_clean(directory: Path, kept: tuple[Made, ...]) -> None:
    """Nothing is on the disk that nobody needs."""
    names = {name_of(made) for made in kept}
    group = directory / "root" / GROUP
    assert _names(group / "versions") == names
    assert _names(group / "manifests") == names
    assert _names(group) <= {"current", "versions", "manifests"}
    store = directory / "state" / "store"
    left = {str(path.relative_to(store)) for path in store.rglob("*") if not path.is_dir()}
    assert left == {"boot"}, f"left in the store: {sorted(left)[:5]}"
    assert _names(directory / "state" / "manifests") == set()
    assert _names(directory / "state") == {"ledger.json", "manifests", "store"}
    assert _names(directory) <= {"root", "state", PARTITION}


def check_record(directory: Path, generation: int) -> None:
    """The ledger can be read, and knows the plan's generation."""
    record = msgspec.json.decode((directory / "state" / "ledger.json").read_bytes(), type=Record)
    assert record.generation == generation


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.is_dir() else set()


def check_ledger_readable(path: Path) -> Record:
    """The ledger at `path`, whole; an empty one if there is none yet."""
    return msgspec.json.decode(path.read_bytes(), type=Record) if path.exists() else Record()
