"""After a crash in any state: either the old version runs or the new one, and the deployment comes to its end."""

import msgspec
import pytest

from boardwright.agent import deployment as d
from boardwright.agent.machine import step
from boardwright.agent.resume import adopt, resume
from boardwright.agent.timing import DEFAULT_TIMING
from boardwright.model.report import DeploymentState as State
from boardwright.model.software import Target

OLD = Target("routing", "8.4.3", "*", "a" * 64)
NEW = Target("routing", "8.4.4", "*", "b" * 64)


class Board:
    """The least of a board: what is staged, what is in place, and a ledger that is written before actions."""

    def __init__(self, healthy: bool) -> None:
        self.in_place: Target | None = OLD
        self.staged = False
        self.healthy = healthy
        self.ledger = msgspec.json.encode(d.Deployment("routing", running=OLD, wanted=NEW))

    def answer(self, action: d.Action) -> d.Event | None:
        m = NEW.manifest
        match action:
            case d.FindSources():
                return d.SourceFound(m)
            case d.Download():
                self.staged = True
                return d.StageSucceeded(m)
            case d.Activate(target):
                self.in_place = target
                return d.Activated(m, 10)
            case d.Probe():
                return d.Healthy(m) if self.healthy else d.Unhealthy(m, "sick")
            case d.RollBack(_, to):
                self.in_place = to
                return d.RolledBack(m)
        return None

    def run(self, crash_after: int) -> int:
        """Start, go on until nothing is left or `crash_after` writes or actions are done; how many were."""
        done = 0
        recorded = msgspec.json.decode(self.ledger, type=d.Deployment)
        deployment, actions = resume(recorded, self.in_place, 0.0, staged=self.staged)
        todo: list[d.Action | d.Event] = [*actions, d.Wanted(NEW)]
        while todo:
            self.ledger = msgspec.json.encode(deployment)
            next_one = todo.pop(0)
            if isinstance(next_one, d.Action):
                answer = self.answer(next_one)
                todo += [answer] if answer else []
            else:
                deployment, actions = step(deployment, next_one, 0.0)
                todo += actions
                if deployment.state is State.STAGED and not todo:
                    todo.append(d.Permitted(NEW.manifest, 60))
            done += 1
            if done == crash_after:
                return done
        self.ledger = msgspec.json.encode(deployment)
        return done

    def deployment(self) -> d.Deployment:
        return msgspec.json.decode(self.ledger, type=d.Deployment)


@pytest.mark.parametrize("healthy", [True, False])
def test_interrupted_after_any_step_it_ends_as_if_it_had_not_been(healthy: bool) -> None:
    undisturbed = Board(healthy)
    steps = undisturbed.run(10_000)
    expected = undisturbed.deployment()
    assert expected.state is (State.CONFIRMED if healthy else State.FAILED)
    assert undisturbed.in_place == (NEW if healthy else OLD)
    for crash in range(1, steps + 1):
        board = Board(healthy)
        board.run(crash)
        assert board.in_place in (OLD, NEW)
        board.run(10_000)
        after = board.deployment()
        assert (after.state, after.running, board.in_place) == (
            expected.state,
            expected.running,
            undisturbed.in_place,
        ), f"after a crash behind step {crash}"


def _in(phase: d.Phase) -> d.Deployment:
    return d.Deployment("routing", phase=phase, running=OLD, wanted=NEW)


@pytest.mark.parametrize("kind", [d.Activating, d.Probing])
def test_a_version_that_restarts_the_board_is_rolled_back_in_the_end(kind: type[d.Activating | d.Probing]) -> None:
    deployment, starts = _in(kind(target=NEW, since=0.0)), 0
    while deployment.state is not State.ROLLING_BACK:
        deployment, actions = resume(deployment, NEW, 5.0)
        starts += 1
        assert starts <= DEFAULT_TIMING.restarts
    assert actions == (d.RollBack(NEW, OLD),)


def test_a_take_over_that_was_cut_off_is_taken_back_if_the_board_sits_elsewhere_now() -> None:
    """Not the version is to blame: once the places agree it is staged and activated anew."""
    for interrupted, found in ((d.Activating(target=NEW, since=0.0), NEW), (d.Probing(target=NEW, since=0.0), OLD)):
        after, actions = resume(_in(interrupted), found, 5.0, conflict="location-conflict: ...")
        assert actions == (d.RollBack(NEW, OLD),)
        assert isinstance(after.phase, d.RollingBack)
        assert (after.phase.reason, after.phase.bad) == ("location-conflict: ...", False)


def test_a_version_that_has_taken_over_already_is_probed_wherever_the_board_sits() -> None:
    _, actions = resume(_in(d.Probing(target=NEW, since=0.0)), NEW, 5.0, conflict="location-conflict: ...")
    assert actions == (d.Probe(NEW),)


def test_a_rollback_is_done_again() -> None:
    rolling = _in(d.RollingBack(target=NEW, since=0.0, reason="sick"))
    after, actions = resume(rolling, NEW, 5.0)
    assert (after.state, actions) == (State.ROLLING_BACK, (d.RollBack(NEW, OLD),))


def test_a_search_or_download_begins_anew() -> None:
    for phase in (d.Requesting(target=NEW, since=0.0, attempt=4), d.Downloading(target=NEW, since=0.0)):
        after, actions = resume(_in(phase), OLD, 5.0)
        assert (after.state, actions) == (State.REQUESTING, (d.FindSources(NEW),))


def test_a_staged_version_stays_staged_without_any_server() -> None:
    after, actions = resume(_in(d.Staged(target=NEW, since=0.0)), OLD, 5.0)
    assert (after.state, actions) == (State.STAGED, ())


@pytest.mark.parametrize("kind", [d.Staged, d.Activating, d.Probing])
def test_a_version_that_is_gone_from_the_disk_is_fetched_again(kind: type[d.Staged]) -> None:
    after, actions = resume(_in(kind(target=NEW, since=0.0)), OLD, 5.0, staged=False)
    assert (after.state, actions) == (State.REQUESTING, (d.FindSources(NEW),))


def test_a_bad_version_stays_bad() -> None:
    bad = msgspec.structs.replace(_in(d.Failed(target=NEW, reason="sick")), bad=(d.BadVersion(NEW.manifest, "sick"),))
    after, actions = resume(bad, OLD, 5.0)
    assert (after, actions) == (bad, (d.Discard(NEW),))  # a crash may have come before it was removed
    assert step(after, d.Wanted(NEW), 6.0) == (after, ())


def test_a_failure_that_was_to_be_tried_again_still_is() -> None:
    failed = _in(d.Failed(target=NEW, reason="disk full", deadline=123456.0))
    after, _ = resume(failed, OLD, 5.0)
    assert after.phase.deadline == 5.0 + DEFAULT_TIMING.retry


def test_a_board_whose_root_is_gone_provisions_itself() -> None:
    confirmed = d.Deployment("routing", phase=d.Confirmed(), running=OLD, wanted=OLD)
    after, _ = resume(confirmed, None, 5.0)
    assert after.running is None
    assert "gone from the disk" in getattr(after.phase, "reason", "")
    again, actions = step(after, d.Wanted(OLD), 6.0)
    assert (again.state, actions) == (State.REQUESTING, (d.FindSources(OLD),))


def test_without_a_ledger_what_is_in_place_runs() -> None:
    assert adopt("routing", OLD).running == OLD
    assert adopt("routing", None).state is State.IDLE
