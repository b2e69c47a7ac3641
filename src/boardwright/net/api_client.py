"""The HTTP API of a cluster as typed calls (the table in ``model/api.py``).

What a server refuses comes back as the error that ends a command with the documented exit code: ``Problem.exit_code``
1, 2, 3 or 4 becomes FailedError, UsageError, RefusedError or UnreachableError with the server's sentence and hint.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import msgspec

from boardwright.errors import BoardwrightError, FailedError, MalformedError, RefusedError, UnreachableError, UsageError
from boardwright.model.admission import (
    Approval,
    ClusterAuthority,
    JoinAnswer,
    Joiner,
    JoinerList,
    Joining,
    NewToken,
    TokenList,
    TokenStatus,
)
from boardwright.model.api import (
    AlarmList,
    BoardList,
    Deployment,
    DeploymentRequest,
    Health,
    Problem,
    Publication,
    Restoration,
    Restored,
    Retry,
    RolloutList,
    RoomRequest,
    ServerList,
    SignedMetadata,
    SoftwareList,
    Switchover,
    SwitchoverRequest,
    TrustChange,
    VersionSummary,
)
from boardwright.model.audit import AuditPage
from boardwright.model.report import Explanation
from boardwright.model.software import Manifest, decode_manifest, digest_of
from boardwright.model.upgrade import UpgradeRequest, UpgradeStatus
from boardwright.net.lines import Lines
from boardwright.net.servers import Answer, Call, Revoked, Servers, Upload

ERRORS: dict[int, type[BoardwrightError]] = {1: FailedError, 2: UsageError, 3: RefusedError, 4: UnreachableError}
OK, CREATED = 200, 201
MAX_ASKED = 10_000  # digests per question; 700 kB of JSON

Content = TypeVar("Content")


class Published(msgspec.Struct, frozen=True):
    """`created` is false if the very same version was there already."""

    version: VersionSummary
    created: bool


class ApiClient:
    """The calls of an operator; every one raises BoardwrightError with the exit code that fits."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    @classmethod
    def of(cls, bases: Sequence[str], lines: Lines, cluster: str = "") -> Self:
        """A client of the servers at these base URLs, tried in turn; only those of `cluster` take calls."""
        return cls(Servers(bases, lines, cluster=cluster))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._servers.close()

    def heed(self, revoked: Revoked) -> Self:
        """Keep that list of revoked keys as new as the servers' that are asked."""
        self._servers.heed(revoked)
        return self

    def health(self, base: str | None = None) -> Health:
        """Of the server at `base`, else of the first that answers."""
        call = Call("GET", "/v1/health")
        answer = self._servers.ask(call) if base is None else self._servers.ask_at(base, call)
        return _decode(answer, call, Health)

    def healths(self) -> tuple[Health, ...]:
        """Of every server that answers."""
        call = Call("GET", "/v1/health")
        return tuple(_decode(answer, call, Health) for answer in self._servers.ask_any(call))

    def boards(self, board: str | None = None) -> BoardList:
        """Every board, or one; FailedError if it does not exist."""
        return self._get(_below("/v1/boards", board), BoardList)

    def explanations(self, board: str) -> list[Explanation]:
        """Why the board chose as it did, by group."""
        return self._get(_below("/v1/boards", board) + "/explanations", list[Explanation])

    def servers(self) -> ServerList:
        """Every server with its role, health and holdings."""
        return self._get("/v1/servers", ServerList)

    def alarms(self) -> AlarmList:
        """What servers warn of, the oldest first."""
        return self._get("/v1/alarms", AlarmList)

    def software(self, group: str | None = None) -> SoftwareList:
        """Published versions, of every group or of one."""
        return self._get(_below("/v1/software", group), SoftwareList)

    def rollouts(self, rollout: str | None = None) -> RolloutList:
        """Every rollout, or one; FailedError if it does not exist."""
        return self._get(_below("/v1/rollouts", rollout), RolloutList)

    def deploy(self, request: DeploymentRequest) -> Deployment:
        """Change the policy and commit the plan; a dry run changes nothing."""
        return self._post("/v1/deployments", msgspec.json.encode(request), Deployment)

    def retry(self, board: str, group: str | None = None) -> Retry:
        """Let the board try again what it holds or failed at, of every group or one; FailedError if nothing."""
        path = _below("/v1/boards", board) + "/retry"
        return self._post(path if group is None else f"{path}?group={quote(group, safe='')}", b"", Retry)

    def switchover(self, server: str = "", epoch: int = 0) -> Switchover:
        """Let `server`, or the best standby, be the active; RefusedError with the reason if it cannot."""
        request = SwitchoverRequest(server, epoch)
        return self._post("/v1/switchover", msgspec.json.encode(request), Switchover)

    def upgrade(self, request: UpgradeRequest) -> UpgradeStatus:
        """Begin an upgrade of Boardwright itself; RefusedError or FailedError with the reason if it cannot be."""
        return self._post("/v1/upgrade", msgspec.json.encode(request), UpgradeStatus)

    def abort_upgrade(self) -> UpgradeStatus:
        """Go back everywhere; RefusedError if there is nothing to go back from."""
        return self._post("/v1/upgrade/abort", b"", UpgradeStatus)

    def upgrade_status(self) -> UpgradeStatus:
        """The newest upgrade."""
        return self._get("/v1/upgrade", UpgradeStatus)

    def missing_blobs(self, digests: Iterable[str]) -> set[str]:
        """Which of these blobs (SHA-256, hex) the active lacks."""
        asked = sorted(set(digests))
        missing: set[str] = set()
        for start in range(0, len(asked), MAX_ASKED):
            part = msgspec.json.encode(asked[start : start + MAX_ASKED])
            missing.update(self._post("/v1/blobs/missing", part, list[str]))
        return missing

    def room(self, count: int) -> None:
        """Ask for room for `count` bytes; FailedError if they do not fit into the active's store."""
        self._post("/v1/blobs/room", msgspec.json.encode(RoomRequest(count)), RoomRequest)

    def upload(self, sha256: str, upload: Upload) -> None:
        """Put one blob; FailedError or MalformedError's exit code if the bytes are others than `sha256` says."""
        call = Call("PUT", f"/v1/blobs/{sha256}", upload)
        _check(self._servers.ask(call), call)

    def publish(self, publication: Publication) -> Published:
        """Name a version whose manifest and blobs are there; RefusedError for other content, or nobody's signature."""
        call = Call("POST", "/v1/versions", msgspec.json.encode(publication))
        answer = self._servers.ask(call)
        return Published(_decode(answer, call, VersionSummary), created=answer.status == CREATED)

    def signed_metadata(self) -> SignedMetadata:
        """What the cluster has signed so far, not verified."""
        return self._get("/v1/trust", SignedMetadata)

    def change_trust(self, change: TrustChange) -> SignedMetadata:
        """Hand in what the operator has signed; RefusedError if it does not follow on what the cluster has."""
        return self._post("/v1/trust", msgspec.json.encode(change), SignedMetadata)

    @property
    def bases(self) -> tuple[str, ...]:
        """The base URLs of the servers that are known."""
        return self._servers.bases

    def audit(self, base: str, after: int, limit: int) -> AuditPage:
        """The copy of the audit log at one server, after that record; raises UnreachableError."""
        call = Call("GET", f"/v1/audit?after={after}&limit={limit}")
        return _decode(self._servers.ask_at(base, call), call, AuditPage)

    def manifest(self, digest: str) -> Manifest | None:
        """A published manifest by its digest, from any server that has it; None if nobody can send it now."""
        call = Call("GET", f"/v1/blobs/{digest}")
        for answer in self._servers.ask_any(Call("GET", "/v1/health")):
            try:
                blobs = _decode(answer, call, Health).blobs
                found = self._servers.ask_at(blobs, call) if blobs else None
                if found is not None and found.status == OK and digest_of(found.data) == digest:
                    return decode_manifest(found.data)
            except BoardwrightError:
                continue  # it only saves bytes; another server may have it
        return None

    def backup(self) -> bytes:
        """The replicated state as a file (``model/backup.py``)."""
        call = Call("GET", "/v1/backup")
        answer = self._servers.ask(call)
        _check(answer, call)
        return answer.data

    def restore(self, wish: Restoration) -> Restored:
        """Make the state what a backup says; RefusedError for one that is not empty, or of another cluster."""
        body = msgspec.json.encode(wish)
        call = Call("POST", "/v1/restore", Upload(lambda: io.BytesIO(body), len(body)))
        return _decode(self._servers.ask(call), call, Restored)

    def authority(self) -> ClusterAuthority:
        """What anybody may know of the cluster; the caller compares it with what it has heard elsewhere."""
        return self._get("/v1/authority", ClusterAuthority)

    def join(self, joining: Joining) -> JoinAnswer:
        """Ask to be let in; an answer without a chain means that it waits."""
        return self._post("/v1/joins", msgspec.json.encode(joining), JoinAnswer)

    def joiners(self) -> JoinerList:
        """Who waits to be let in, and who was approved."""
        return self._get("/v1/joins", JoinerList)

    def approve(self, key: str, certificate: bytes) -> Joiner:
        """Let in who waits with this key, by the authority's certificate; FailedError if nobody does."""
        return self._post(_below("/v1/joins", key) + "/approval", msgspec.json.encode(Approval(certificate)), Joiner)

    def dismiss(self, key: str) -> Joiner:
        """Let nobody in who waits with this key."""
        return self._delete(_below("/v1/joins", key), Joiner)

    def create_token(self, new: NewToken) -> TokenStatus:
        """Make a join token known to the cluster by its digest."""
        return self._post("/v1/tokens", msgspec.json.encode(new), TokenStatus)

    def tokens(self) -> TokenList:
        """The join tokens that are still good."""
        return self._get("/v1/tokens", TokenList)

    def drop_token(self, digest: str) -> TokenStatus:
        """The token is good no more; FailedError if there is none."""
        return self._delete(_below("/v1/tokens", digest), TokenStatus)

    def revocations(self) -> list[bytes]:
        """The lists of revoked keys that servers have, not verified."""
        answers = self._servers.ask_any(Call("GET", "/v1/revocations"))
        return [answer.data for answer in answers if answer.status == OK and answer.data]

    def revoke(self, data: bytes) -> tuple[int, list[BoardwrightError]]:
        """Give a signed list to every server: how many took it, and why others did not."""
        call, taken, refusals = Call("POST", "/v1/revocations", data), 0, list[BoardwrightError]()
        for answer in self._servers.ask_any(call):
            try:
                _check(answer, call)
                taken += 1
            except BoardwrightError as error:
                refusals.append(error)
        return taken, refusals

    def _delete(self, path: str, content: type[Content]) -> Content:
        call = Call("DELETE", path)
        return _decode(self._servers.ask(call), call, content)

    def _get(self, path: str, content: type[Content]) -> Content:
        call = Call("GET", path)
        return _decode(self._servers.ask(call), call, content)

    def _post(self, path: str, body: bytes, content: type[Content]) -> Content:
        call = Call("POST", path, body)
        return _decode(self._servers.ask(call), call, content)


def counted(upload: Upload, on_bytes: Callable[[int], None]) -> Upload:
    """The same upload, which tells `on_bytes` how many bytes go out as they go."""
    return Upload(lambda: io.BufferedReader(_Counting(upload, on_bytes)), upload.size)


class _Counting(io.RawIOBase):
    def __init__(self, upload: Upload, on_bytes: Callable[[int], None]) -> None:
        self._file = upload.open()
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._on_bytes(len(data))
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _below(path: str, name: str | None) -> str:
    return path if name is None else f"{path}/{quote(name, safe='')}"


def _check(answer: Answer, call: Call) -> None:
    """Raise what the server's Problem says, if it says one."""
    if answer.status in range(200, 300):
        return
    try:
        problem = msgspec.json.decode(answer.data, type=Problem)
    except msgspec.DecodeError:
        text = answer.data[:200].decode(errors="replace")
        raise FailedError(f"{answer.base} answered {call} with status {answer.status}: {text!r}") from None
    raise ERRORS.get(problem.exit_code, FailedError)(problem.error, hint=problem.hint)


def _decode(answer: Answer, call: Call, content: type[Content]) -> Content:
    _check(answer, call)
    try:
        return msgspec.json.decode(answer.data, type=content)
    except msgspec.DecodeError as error:
        raise MalformedError(f"{answer.base} answered {call} with something else than documented") from error
