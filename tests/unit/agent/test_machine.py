"""The deployment machine: every transition of its table, its rules, and that nothing leads around them."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardwright.agent import deployment as d
from boardwright.agent.diagram import page
from boardwright.agent.machine import TABLE, deadline, step
from boardwright.agent.timing import DEFAULT_TIMING
from boardwright.model.report import DeploymentState as State
from boardwright.model.software import Target

OLD = Target("routing", "8.4.3", "*", "a" * 64)
NEW = Target("routing", "8.4.4", "*", "b" * 64)
OTHER = Target("routing", "8.5.0", "*", "c" * 64)


def fresh(running: Target | None = OLD) -> d.Deployment:
    return d.Deployment("routing", running=running)


def drive(deployment: d.Deployment, *events: d.Event, now: float = 0.0) -> tuple[d.Deployment, list[d.Action]]:
    """All events at `now`; the end and every action on the way."""
    actions: list[d.Action] = []
    for event in events:
        deployment, more = step(deployment, event, now)
        actions += more
    return deployment, actions


def to_state(state: State, running: Target | None = OLD) -> d.Deployment:
    """A deployment of NEW over `running` in `state`."""
    m = NEW.manifest
    path: dict[State, list[d.Event]] = {
        State.IDLE: [],
        State.REQUESTING: [d.Wanted(NEW)],
        State.DOWNLOADING: [d.Wanted(NEW), d.SourceFound(m)],
        State.STAGED: [d.Wanted(NEW), d.SourceFound(m), d.StageSucceeded(m)],
        State.ACTIVATING: [d.Wanted(NEW), d.SourceFound(m), d.StageSucceeded(m), d.Permitted(m, 60)],
    }
    path[State.PROBING] = [*path[State.ACTIVATING], d.Activated(m, 10)]
    path[State.CONFIRMED] = [*path[State.PROBING], d.Healthy(m)]
    path[State.ROLLING_BACK] = [*path[State.PROBING], d.Unhealthy(m, "exit code 1", "boom")]
    path[State.FAILED] = [*path[State.ROLLING_BACK], d.RolledBack(m)]
    deployment, _ = drive(fresh(running), *path[state])
    assert deployment.state is state
    return deployment


class TestAGoodVersion:
    def test_goes_from_the_wish_to_confirmed(self) -> None:
        m = NEW.manifest
        deployment, actions = drive(
            fresh(),
            d.Wanted(NEW),
            d.SourceFound(m),
            d.Progressed(m),
            d.Fetched(m),
            d.StageSucceeded(m),
            d.Permitted(m, 60),
            d.Activated(m, 10),
            d.Healthy(m),
        )
        assert deployment.state is State.CONFIRMED
        assert (deployment.running, deployment.previous) == (NEW, OLD)
        assert actions == [
            d.FindSources(NEW),
            d.Download(NEW),
            d.Activate(NEW, OLD),
            d.Probe(NEW),
            d.Confirm(NEW, OLD),
        ]

    def test_runs_only_after_its_health_check(self) -> None:
        for state in (State.ACTIVATING, State.PROBING):
            assert to_state(state).running == OLD
        assert to_state(State.CONFIRMED).running == NEW

    def test_says_how_long_it_took(self) -> None:
        deployment, _ = step(to_state(State.PROBING), d.Healthy(NEW.manifest), 12.5)
        assert isinstance(deployment.phase, d.Confirmed)
        assert deployment.phase.seconds == 12.5

    def test_that_runs_already_is_confirmed_without_any_action(self) -> None:
        deployment, actions = drive(fresh(), d.Wanted(OLD))
        assert (deployment.state, actions) == (State.CONFIRMED, [])

    def test_provisions_a_blank_board(self) -> None:
        deployment, actions = drive(fresh(None), d.Wanted(NEW))
        assert deployment.state is State.REQUESTING
        assert actions == [d.FindSources(NEW)]


class TestABadVersion:
    @pytest.mark.parametrize("running", [OLD, None])
    def test_that_is_unhealthy_is_rolled_back_to_what_ran(self, running: Target | None) -> None:
        rolling, actions = drive(to_state(State.PROBING, running), d.Unhealthy(NEW.manifest, "exit code 1", "boom"))
        assert rolling.state is State.ROLLING_BACK
        assert actions == [d.RollBack(NEW, running)]
        failed, actions = drive(rolling, d.RolledBack(NEW.manifest))
        assert failed.state is State.FAILED
        assert failed.running == running
        assert isinstance(failed.phase, d.Failed)
        where = "rolled back to 8.4.3" if running else "removed 8.4.4, nothing runs"
        assert failed.phase.reason == f"{where}: exit code 1"
        assert failed.phase.log == "boom"
        assert actions == [d.Discard(NEW)]

    def test_is_not_tried_again_however_often_the_plan_names_it(self) -> None:
        failed = to_state(State.FAILED)
        for _ in range(5):
            failed, actions = drive(failed, d.Wanted(NEW), d.ServersBack(), d.Tick(), now=1e9)
            assert actions == []
            assert failed.state is State.FAILED
        assert deadline(failed) is None

    def test_is_not_tried_again_after_the_plan_was_away(self) -> None:
        again, actions = drive(to_state(State.FAILED), d.Wanted(None, "no plan"), d.Wanted(NEW))
        assert (again.state, actions) == (State.FAILED, [])

    def test_may_be_tried_again_once_the_plan_has_named_another_one(self) -> None:
        back, _ = drive(to_state(State.FAILED), d.Wanted(OLD))
        assert back.state is State.CONFIRMED
        again, actions = drive(back, d.Wanted(NEW))
        assert (again.state, actions) == (State.REQUESTING, [d.FindSources(NEW)])

    def test_makes_room_for_the_next_one(self) -> None:
        after, actions = drive(to_state(State.FAILED), d.Wanted(OTHER))
        assert (after.state, after.bad) == (State.REQUESTING, ())
        assert actions == [d.FindSources(OTHER)]

    def test_that_a_hook_vetoes_never_stopped_what_runs(self) -> None:
        vetoed, actions = drive(to_state(State.ACTIVATING), d.Vetoed(NEW.manifest, "hook bin/check", "no"))
        assert vetoed.state is State.FAILED
        assert vetoed.running == OLD
        assert actions == [d.Discard(NEW)]
        assert vetoed.badness(NEW) is not None

    def test_whose_activation_fails_is_rolled_back(self) -> None:
        after, actions = drive(to_state(State.ACTIVATING), d.ActivationFailed(NEW.manifest, "restart failed"))
        assert after.state is State.ROLLING_BACK
        assert actions == [d.RollBack(NEW, OLD)]

    def test_is_not_discarded_if_a_rollback_may_need_it(self) -> None:
        confirmed = to_state(State.CONFIRMED)  # NEW runs, OLD is the way back
        m = OLD.manifest
        failed, actions = drive(confirmed, d.Wanted(OLD), d.SourceFound(m), d.StageFailed(m, "odd"))
        assert failed.state is State.FAILED
        assert d.Discard(OLD) not in actions

    def test_whose_rollback_fails_is_rolled_back_again_a_bounded_number_of_times(self) -> None:
        deployment, tries = to_state(State.ROLLING_BACK), 1
        while deployment.state is State.ROLLING_BACK:
            deployment, actions = drive(deployment, d.RollBackFailed(NEW.manifest, "disk is gone"))
            tries += actions.count(d.RollBack(NEW, OLD))
            assert d.Discard(NEW) not in actions
        assert tries == DEFAULT_TIMING.restarts
        assert isinstance(deployment.phase, d.Failed)
        assert "disk is gone" in deployment.phase.reason


class TestWhatIsNotTheVersionsFault:
    @pytest.mark.parametrize(
        ("state", "event"),
        [
            (State.REQUESTING, d.NoSource(NEW.manifest, "nobody has it")),
            (State.DOWNLOADING, d.DownloadFailed(NEW.manifest, "every source failed")),
        ],
    )
    def test_is_tried_again_with_back_off_and_a_reason(self, state: State, event: d.Event) -> None:
        again, actions = drive(to_state(state), event)
        assert isinstance(again.phase, d.Requesting)
        assert again.phase.reason
        assert actions == [d.FindSources(NEW, 1.0)]

    def test_ends_in_failed_after_bounded_attempts_and_is_tried_slowly_from_then_on(self) -> None:
        deployment, afters = to_state(State.REQUESTING), []
        while deployment.state is not State.FAILED:
            deployment, actions = drive(
                deployment, d.SourceFound(NEW.manifest), d.DownloadFailed(NEW.manifest, "every source failed")
            )
            afters += [action.after for action in actions if isinstance(action, d.FindSources)]
        assert afters == sorted(afters)
        assert len(afters) == DEFAULT_TIMING.attempts - 1
        assert deployment.bad == ()
        due = deadline(deployment)
        assert due == DEFAULT_TIMING.retry
        waits, actions = drive(deployment, d.Wanted(NEW), now=due - 1)
        assert (waits.state, actions) == (State.FAILED, [])
        again, actions = drive(deployment, d.Tick(), now=due)
        assert (again.state, actions) == (State.REQUESTING, [d.FindSources(NEW)])

    def test_a_download_without_progress_is_stopped(self) -> None:
        deployment, _ = step(to_state(State.DOWNLOADING), d.Progressed(NEW.manifest), 50.0)
        assert drive(deployment, d.Tick(), now=100.0) == (deployment, [])
        again, actions = drive(deployment, d.Tick(), now=50.0 + DEFAULT_TIMING.stall)
        assert again.state is State.REQUESTING
        assert actions == [d.Stop(NEW), d.FindSources(NEW, 1.0)]


class TestEveryStateHasItsTimeout:
    @pytest.mark.parametrize(
        ("state", "after"),
        [
            (State.REQUESTING, State.REQUESTING),
            (State.DOWNLOADING, State.REQUESTING),
            (State.ACTIVATING, State.ROLLING_BACK),
            (State.PROBING, State.ROLLING_BACK),
            (State.ROLLING_BACK, State.ROLLING_BACK),
        ],
    )
    def test_and_what_it_leads_to(self, state: State, after: State) -> None:
        deployment = to_state(state)
        due = deadline(deployment)
        assert due is not None
        assert step(deployment, d.Tick(), due - 0.001) == (deployment, ())
        timed_out, actions = step(deployment, d.Tick(), due)
        assert timed_out.state is after
        assert actions

    def test_but_those_that_wait_for_something_from_outside(self) -> None:
        for state in (State.IDLE, State.STAGED, State.CONFIRMED):
            assert deadline(to_state(state)) is None


class TestANewWish:
    @pytest.mark.parametrize("state", [State.REQUESTING, State.DOWNLOADING, State.STAGED])
    def test_ends_what_has_not_taken_over_yet(self, state: State) -> None:
        after, actions = drive(to_state(state), d.Wanted(OTHER))
        assert after.target == OTHER
        assert actions == [d.Stop(NEW), d.Discard(NEW), d.FindSources(OTHER)]

    @pytest.mark.parametrize("state", [State.REQUESTING, State.DOWNLOADING, State.STAGED])
    def test_for_what_runs_ends_the_deployment(self, state: State) -> None:
        after, actions = drive(to_state(state), d.Wanted(OLD))
        assert after.state is State.CONFIRMED
        assert actions == [d.Stop(NEW), d.Discard(NEW)]

    @pytest.mark.parametrize("state", [State.REQUESTING, State.DOWNLOADING, State.STAGED])
    def test_for_the_same_version_disturbs_nothing(self, state: State) -> None:
        deployment = to_state(state)
        assert drive(deployment, d.Wanted(NEW)) == (deployment, [])

    @pytest.mark.parametrize("state", [State.ACTIVATING, State.PROBING, State.ROLLING_BACK])
    def test_in_a_take_over_is_noted_and_acted_on_afterwards(self, state: State) -> None:
        deployment = to_state(state)
        noted, actions = drive(deployment, d.Wanted(OTHER))
        assert (noted.phase, noted.wanted, actions) == (deployment.phase, OTHER, [])
        ends: dict[State, list[d.Event]] = {
            State.ACTIVATING: [d.Activated(NEW.manifest, 1), d.Healthy(NEW.manifest)],
            State.PROBING: [d.Healthy(NEW.manifest)],
            State.ROLLING_BACK: [d.RolledBack(NEW.manifest)],
        }
        ended, _ = drive(noted, *ends[state])
        assert deadline(ended) == 0.0
        after, actions = drive(ended, d.Tick())
        assert (after.target, actions) == (OTHER, [d.FindSources(OTHER)])

    def test_for_nothing_leaves_what_runs_and_says_why(self) -> None:
        after, actions = drive(to_state(State.CONFIRMED), d.Wanted(None, "plan 7 names no version"))
        assert after.phase == d.Idle(reason="plan 7 names no version")
        assert (after.running, actions) == (NEW, [])


class TestTheTable:
    def test_is_drawn_in_the_documentation(self, pytestconfig: pytest.Config) -> None:
        written = (pytestconfig.rootpath / "docs" / "agent-states.md").read_text()
        assert written == page(), "run: python -m boardwright.agent.diagram > docs/agent-states.md"

    def test_has_every_state_and_no_dead_end(self) -> None:
        assert set(TABLE) == set(State)
        for state, events in TABLE.items():
            assert any(to is not state for transition in events.values() for to in transition.to)

    @pytest.mark.parametrize("state", list(State))
    def test_ignores_answers_about_abandoned_versions(self, state: State) -> None:
        deployment = to_state(state)
        stale = OTHER.manifest
        for event in (
            d.SourceFound(stale),
            d.NoSource(stale, "x"),
            d.StageSucceeded(stale),
            d.Permitted(stale, 1),
            d.Activated(stale, 1),
            d.Healthy(stale),
            d.Unhealthy(stale, "x"),
            d.RolledBack(stale),
        ):
            assert step(deployment, event, 1.0) == (deployment, ())


_targets = st.sampled_from([OLD, NEW, OTHER])
_manifests = _targets.map(lambda target: target.manifest)
_events = st.one_of(
    st.builds(d.Wanted, st.none() | _targets, st.just("why")),
    st.sampled_from([d.Tick(), d.ServersBack()]),
    *(
        st.builds(kind, _manifests)
        for kind in (d.SourceFound, d.Progressed, d.Fetched, d.StageSucceeded, d.Healthy, d.RolledBack)
    ),
    *(
        st.builds(kind, _manifests, st.just("reason"))
        for kind in (
            d.NoSource, d.DownloadFailed, d.StageFailed, d.Held, d.Vetoed, d.ActivationFailed, d.Unhealthy,
            d.RollBackFailed,
        )
    ),
    st.builds(d.Permitted, _manifests, st.just(60.0)),
    st.builds(d.Activated, _manifests, st.just(10.0)),
)  # fmt: skip


@given(st.lists(st.tuples(_events, st.floats(0, 400)), max_size=60), st.sampled_from([None, OLD]))
def test_whatever_happens_the_rules_hold(events: list[tuple[d.Event, float]], running: Target | None) -> None:
    deployment, now = d.Deployment("routing", running=running), 0.0
    confirmed = {running}
    for event, pause in events:
        now += pause
        before = deployment
        deployment, actions = step(before, event, now)
        if deployment.running != before.running:
            assert isinstance(event, d.Healthy)
            assert before.state is State.PROBING
            confirmed.add(deployment.running)
        for action in actions:
            if isinstance(action, d.RollBack):
                assert action.to in confirmed
            if isinstance(action, d.FindSources):
                assert deployment.badness(action.target) is None
            if isinstance(action, d.Discard):
                assert action.target not in (deployment.running, deployment.previous)
        # It survives the ledger.
        assert msgspec.json.decode(msgspec.json.encode(deployment), type=d.Deployment) == deployment


@given(st.lists(_events, max_size=40))
def test_ticks_alone_come_to_rest(events: list[d.Event]) -> None:
    deployment, _ = drive(d.Deployment("routing", running=OLD), *events)
    now = 0.0
    for _ in itertools.repeat(None, 60):
        due = deadline(deployment)
        if due is None or isinstance(deployment.phase, d.Failed):
            break
        now = max(now, due)
        after, _ = step(deployment, d.Tick(), now)
        assert after != deployment, "a tick that changes nothing would spin"
        deployment = after
    else:
        pytest.fail(f"still going on in {deployment.state}")


def test_a_disk_that_does_not_take_the_switch_is_not_the_versions_fault() -> None:
    after, _ = drive(to_state(State.ACTIVATING), d.ActivationFailed(NEW.manifest, "no space left", bad=False))
    after, actions = drive(after, d.RolledBack(NEW.manifest))
    assert (after.state, after.bad, actions) == (State.FAILED, (), [])
    assert after.phase.deadline is not None  # it is tried again


def test_a_rollback_that_the_disk_does_not_take_is_tried_until_it_does() -> None:
    deployment = to_state(State.ROLLING_BACK)
    for _ in range(10):
        deployment, actions = drive(deployment, d.RollBackFailed(NEW.manifest, "no space left", disk=True))
        assert (deployment.state, actions) == (State.ROLLING_BACK, [])
        due = deadline(deployment)
        assert due is not None
        deployment, actions = step(deployment, d.Tick(), due)
        assert actions == (d.RollBack(NEW, OLD),)


class TestAGroupThatThePlanDoesNotNameAnyMore:
    GONE = d.Wanted(None, "plan 7 names no version", leave=True)

    @pytest.mark.parametrize("state", [State.IDLE, State.CONFIRMED, State.FAILED, State.DOWNLOADING, State.STAGED])
    def test_goes_at_the_next_tick_and_nothing_runs_after_it(self, state: State) -> None:
        before = to_state(state)
        runs = before.running
        assert runs is not None
        noted, _ = drive(before, self.GONE)
        assert deadline(noted) == 0.0
        going, actions = drive(noted, d.Tick())
        assert going.state is State.ROLLING_BACK
        assert actions == [d.RollBack(runs, None)]
        gone, actions = drive(going, d.RolledBack(runs.manifest))
        assert (gone.state, gone.running, gone.previous, gone.bad) == (State.IDLE, None, None, noted.bad)
        assert actions == []  # the program may still need its files
        assert deadline(gone) is None

    @pytest.mark.parametrize("state", [State.ACTIVATING, State.PROBING])
    def test_goes_after_the_take_over_that_is_under_way(self, state: State) -> None:
        noted, actions = drive(to_state(state), self.GONE)
        assert (noted.state, actions) == (state, [])
        events: list[d.Event] = [d.Activated(NEW.manifest, 1)] if state is State.ACTIVATING else []
        going, actions = drive(noted, *events, d.Healthy(NEW.manifest), d.Tick())
        assert actions[-1] == d.RollBack(NEW, None)
        assert going.running is None

    def test_that_comes_back_meanwhile_is_deployed_after_that(self) -> None:
        going, _ = drive(to_state(State.CONFIRMED), self.GONE, d.Tick(), d.Wanted(OTHER))
        gone, _ = drive(going, d.RolledBack(NEW.manifest))
        assert deadline(gone) == 0.0
        again, actions = drive(gone, d.Tick())
        assert (again.state, actions) == (State.REQUESTING, [d.FindSources(OTHER)])

    def test_stays_if_it_is_not_one_that_goes(self) -> None:
        noted, _ = drive(to_state(State.CONFIRMED), d.Wanted(None, "plan 7 names no version"))
        assert deadline(noted) is None
        assert noted.running == NEW

    def test_is_no_bad_version_if_it_cannot_be_taken_away(self) -> None:
        going, _ = drive(to_state(State.CONFIRMED), self.GONE, d.Tick())
        failing: list[d.Event] = [d.RollBackFailed(NEW.manifest, "no")] * DEFAULT_TIMING.restarts
        failed, _ = drive(going, *failing)
        assert (failed.state, failed.bad) == (State.FAILED, ())

    def test_with_servers_that_are_back_waits_for_its_tick(self) -> None:
        failed = msgspec.structs.replace(to_state(State.IDLE), phase=d.Failed(target=NEW, reason="x", deadline=9.0))
        noted, _ = drive(failed, self.GONE)
        assert drive(noted, d.ServersBack()) == (noted, [])
