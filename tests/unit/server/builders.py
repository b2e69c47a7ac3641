"""Boards, versions and states for the tests of the server."""

from collections.abc import Callable

from boardwright.model.audit import Act, Action, Actor, AuditRecord, followed
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.report import BoardReport, DeploymentState, GroupReport
from boardwright.model.software import BlobRef, FileEntry, Manifest, digest_of, encode_manifest
from boardwright.protocol.messages import GroupQuery, Request
from boardwright.server.audit_log import AuditedCommit, AuditLog
from boardwright.server.facts import encoded
from boardwright.state.kv import KV, Transaction
from boardwright.state.records import AUDIT, AUDIT_HEAD, BOARDS, CATALOG, CatalogRecord


def board(name: str = "c1s3", *, groups: tuple[str, ...] = ("platform",), type: str = "lc") -> Board:
    chassis, slot = name.removeprefix("c").split("s")
    return Board(name, Location(chassis, slot), type, groups)


def report(facts: Board, sequence: int, generation: int = 1, **groups: GroupReport) -> BoardReport:
    return BoardReport(facts, generation, sequence, groups)


def confirmed(version: str) -> GroupReport:
    return GroupReport(version=version, wanted=version, state=DeploymentState.CONFIRMED)


def failed(version: str, reason: str = "health check said no") -> GroupReport:
    return GroupReport(version="0", wanted=version, state=DeploymentState.FAILED, reason=reason)


def request(asker: Board, *, want: bytes | None = None, board_type: str | None = None) -> Request:
    return Request(
        cluster="test",
        nonce=b"n" * 16,
        board=asker.id,
        chassis=asker.location.chassis,
        slot=asker.location.slot,
        board_type=asker.type if board_type is None else board_type,
        groups=tuple(GroupQuery(group, want=want) for group in asker.groups),
    )


class Version:
    """A version of one or more files, ready to be stored and published."""

    def __init__(
        self,
        group: str = "platform",
        version: str = "1",
        contents: tuple[bytes, ...] = (b"one", b"two"),
        *,
        board_types: tuple[str, ...] = ("*",),
        requires: dict[str, str] | None = None,
    ) -> None:
        self.contents = tuple(content + f" of {group} {version}".encode() for content in contents)
        blobs = tuple(BlobRef(digest_of(one), len(one), bytes.fromhex(digest_of(one))) for one in self.contents)
        files = tuple(FileEntry(f"f{index}", 0o644, ref.size, ref.sha256, index) for index, ref in enumerate(blobs))
        self.manifest = Manifest(
            1, group, version, board_types=board_types, files=files, blobs=blobs, requires=requires or {}
        )
        self.encoded = encode_manifest(self.manifest)
        self.digest = digest_of(self.encoded)

    @property
    def blobs(self) -> dict[str, bytes]:
        """Everything that a server needs to have of it, the manifest included."""
        return {digest_of(data): data for data in (*self.contents, self.encoded)}

    @property
    def record(self) -> CatalogRecord:
        manifest = self.manifest
        return CatalogRecord(
            manifest.group, manifest.version, manifest.variant, self.digest, manifest.size, 1.0, manifest.requires
        )

    @property
    def key(self) -> str:
        return f"{CATALOG}{self.manifest.group}/{self.manifest.version}/{self.manifest.variant}"


def fill(kv: KV, *versions: Version, boards: tuple[Board, ...] = ()) -> None:
    """Write catalog records and boards into an empty state."""
    puts: dict[str, bytes | None] = {version.key: encoded(version.record) for version in versions}
    puts |= {f"{BOARDS}{one.id}": encoded(one) for one in boards}
    kv.commit(Transaction(dict.fromkeys(puts, 0), puts))


ACTOR = Actor("ana", "admin", "a" * 64, "10.0.0.7")


def act(action: Action = Action.DEPLOY) -> Act:
    """What somebody does, as the API hands it on."""
    return Act(ACTOR, action)


def audited(kv: KV, commit: Callable[[Transaction], int] | None = None) -> AuditedCommit:
    """The commit that records who did it, over `kv`."""
    return AuditLog(kv, commit or kv.commit, "c1s1", lambda: 1000.0).commit


def audit_records(kv: KV) -> list[AuditRecord]:
    """What the audit log of this state says, its chain checked."""
    lines = [entry.value for entry in kv.range(AUDIT).entries if entry.key != AUDIT_HEAD]
    return [record for _, record in followed(lines)]


class Unheard:
    """Nobody wants to know what was refused."""

    def unproven(self) -> None:
        pass

    def note(self, request: object, caller: object, why: str) -> None:
        pass


UNHEARD = Unheard()
