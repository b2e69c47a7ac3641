"""The command line against a cluster that is one struct."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self, cast

import msgspec
import pytest

from boardwright.cli.program import run
from boardwright.cli.session import Session
from boardwright.errors import BoardwrightError, FailedError
from boardwright.model.api import (
    Alarm,
    AlarmList,
    BoardList,
    BoardStatus,
    Deployment,
    DeploymentRequest,
    Health,
    PlanChange,
    Publication,
    Retry,
    RolloutList,
    RolloutStatus,
    ServerList,
    ServerStatus,
    SignedMetadata,
    SoftwareList,
    Switchover,
    VersionSummary,
)
from boardwright.model.location import Tier
from boardwright.model.report import DeploymentState, Explanation, GroupReport, HeardOffer, Source
from boardwright.model.software import Manifest, Target, decode_manifest, digest_of
from boardwright.model.upgrade import UpgradeRequest, UpgradeStatus
from boardwright.net.api_client import ApiClient, Published
from boardwright.net.servers import Upload
from boardwright.trust.lines import Lines
from boardwright.trust.names import version_path
from tests.identities import Identities

NEAR = Source("c1s1", "1", "1", Tier.SAME_CHASSIS)
FAR = Source("c2s1", "2", "1", Tier.ELSEWHERE)
DOWNLOADING = GroupReport(
    version="1.0",
    wanted="2.0",
    state=DeploymentState.DOWNLOADING,
    server=NEAR,
    bytes={Tier.SAME_BOARD: 0, Tier.SAME_CHASSIS: 500, Tier.ELSEWHERE: 0},
    total=1000,
    failovers=1,
    seconds=1.5,
)


def rollout(state: str, confirmed: int, failed: int = 0, reasons: dict[str, str] | None = None) -> RolloutStatus:
    return RolloutStatus(
        "r1", "platform", "2.0", (), "all-at-once", 2, state, 2, confirmed, failed, reasons=reasons or {}
    )


IDENTITIES = Identities("lab")
NOW = 1.8e9  # seconds since the epoch


class FakeCluster:
    """Answers like an ApiClient; `trouble` is raised instead, by whatever is called."""

    def __init__(self) -> None:
        self.trouble: BaseException | None = None
        self.connected_to: tuple[str, ...] = ()
        self.named = ""
        self.deployed: list[DeploymentRequest] = []
        self.switched: list[tuple[str, int]] = []
        self.upgraded: list[UpgradeRequest] = []
        self.upgrade_answers = [UpgradeStatus()]
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, Manifest] = {}
        self.versions: list[VersionSummary] = []
        self.rollout_answers: list[RolloutStatus | BoardwrightError] = [rollout("done", 2)]
        self.engine = ""
        self.others: tuple[Health, ...] = ()  # what every server says for itself; then none is active
        self.free = 1 << 40
        self.held: str | None = None
        self.signed = IDENTITIES.first.signed(None, IDENTITIES.signer, NOW)
        self.board_list = BoardList(
            (BoardStatus("c1s3", "1", "3", "lc", 2, 0.5, {"platform": DOWNLOADING}),),
        )

    def connect(self, bases: Iterable[str], lines: Lines | None = None, cluster: str = "") -> ApiClient:
        del lines
        self.connected_to, self.named = tuple(bases), cluster
        return cast(ApiClient, self)

    def heed(self, _: object) -> Self:
        return self

    def __enter__(self) -> Self:
        if self.trouble is not None:
            raise self.trouble
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def health(self, base: str | None = None) -> Health:
        active = None if self.others else "https://10.0.1.1:6688"
        return Health("c1s1", "lab", "active", 2, "0.1.0", engine=self.engine, active=active)

    def healths(self) -> tuple[Health, ...]:
        return self.others

    def boards(self, board: str | None = None) -> BoardList:
        return self.board_list

    def alarms(self) -> AlarmList:
        return AlarmList((Alarm("c1s1", "disk", "/data", "the disk is full", 12.0),))

    def servers(self) -> ServerList:
        return ServerList(
            (
                ServerStatus("c1s1", "1", "1", "active", "healthy", 3, 2, ("platform 2.0 *",), 134_217_728),
                ServerStatus("c2s1", "2", "1", "standby", "silent", 3, 1, (), 0),
            )
        )

    def upgrade(self, request: UpgradeRequest) -> UpgradeStatus:
        self.upgraded.append(request)
        return self.upgrade_answers[0]

    def abort_upgrade(self) -> UpgradeStatus:
        return self.upgrade_answers[0]

    def upgrade_status(self) -> UpgradeStatus:
        return self.upgrade_answers.pop(0) if len(self.upgrade_answers) > 1 else self.upgrade_answers[0]

    def switchover(self, server: str = "", epoch: int = 0) -> Switchover:
        self.switched.append((server, epoch))
        return Switchover(server or "c2s1", 3 if server == "c1s1" else 4, "c1s1")

    def explanations(self, board: str) -> list[Explanation]:
        offers = (
            HeardOffer(FAR, 0.0, 2, "all", 2, "elsewhere, farther than same-chassis"),
            HeardOffer(NEAR, 0.25, 2, "all", 1, "same-chassis, the nearest with room"),
        )
        return [Explanation("platform", "ab" * 32, offers, "c1s1: nearest", 12.5)]

    def software(self, group: str | None = None) -> SoftwareList:
        return SoftwareList(tuple(self.versions))

    def rollouts(self, rollout: str | None = None) -> RolloutList:
        answer = self.rollout_answers[0]
        if len(self.rollout_answers) > 1:
            del self.rollout_answers[0]
        if isinstance(answer, BoardwrightError):
            raise answer
        return RolloutList((answer,))

    def deploy(self, request: DeploymentRequest) -> Deployment:
        self.deployed.append(request)
        changes = (
            PlanChange("c1s3", "platform", "1.0", "2.0"),
            PlanChange("c1s4", "platform", "1.0", "1.0", "no variant fits its type 'fan'"),
        )
        return Deployment(None if request.dry_run else "r1", 2, changes)

    def retry(self, board: str, group: str | None = None) -> Retry:
        if self.held is None:
            raise FailedError(f"there is nothing to try again on {board}")
        return Retry(board, {group or "platform": self.held}, 1)

    def missing_blobs(self, digests: Iterable[str]) -> set[str]:
        return set(digests) - self.blobs.keys()

    def room(self, count: int) -> None:
        if count > self.free:
            raise FailedError("the publish does not fit")

    def upload(self, sha256: str, upload: Upload) -> None:
        with upload.open() as file:
            data = file.read()
        assert digest_of(data) == sha256
        assert len(data) == upload.size
        self.blobs[sha256] = data

    def manifest(self, digest: str) -> Manifest | None:
        return self.manifests.get(digest)

    def signed_metadata(self) -> SignedMetadata:
        return SignedMetadata(self.signed.roots, self.signed.roles)

    def publish(self, publication: Publication) -> Published:
        digest = publication.manifest
        decoded = decode_manifest(self.blobs[digest])
        self.signed = self.signed.with_targets(publication.targets) if publication.targets else self.signed
        if publication.software:
            path = version_path(Target(decoded.group, decoded.version, decoded.variant, digest))
            self.signed = self.signed.with_software(decoded.group, publication.software, path)
        assert self.signed.names(Target(decoded.group, decoded.version, decoded.variant, digest))
        assert all(blob.sha256 in self.blobs for blob in decoded.blobs)
        created = digest not in self.manifests
        self.manifests[digest] = decoded
        summary = VersionSummary(
            decoded.group, decoded.version, decoded.variant, digest, decoded.size, len(self.versions)
        )
        if created:
            self.versions.append(summary)
        return Published(summary, created)


class Outcome(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return msgspec.json.decode(self.out)


Command = Callable[..., Outcome]


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def operator(tmp_path: Path) -> Path:
    folder = tmp_path / "operator"
    folder.mkdir()
    IDENTITIES.write_operator(folder)
    (folder / "operator.toml").write_text('cluster = "lab"\nservers = ["https://10.0.1.1:6688"]\n')
    return folder


@pytest.fixture
def command(cluster: FakeCluster, operator: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run `boardwright WORDS...` and see how it ends."""

    def runs(*words: str) -> Outcome:
        code = run(words, Session(operator, cluster.connect))
        return Outcome(code, *capfd.readouterr())

    return runs
