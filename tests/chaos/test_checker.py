"""The checker believes clusters that kept their word, and finds what others did: lost, stale, doubled, reordered."""

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.checker import check, main
from tests.chaos.history import (
    Answered,
    Catalog,
    Deployed,
    Died,
    FaultBegan,
    Happening,
    Healed,
    Lease,
    Listed,
    Plan,
    Refetched,
    Rollout,
    Runs,
    Said,
    Seen,
    read,
    write,
)
from tests.chaos.stories import Telling, content, manifest

History = list[Happening]
seeds = st.integers(0, 2**32)


def told(seed: int = 7, changes: int = 6) -> History:
    return Telling(random.Random(seed), changes).history


def rules(history: History) -> set[str]:
    return {finding.rule for finding in check(history)}


def last(history: History, kind: type[Happening]) -> int:
    return max(index for index, event in enumerate(history) if isinstance(event, kind))


def changed(history: History, index: int, **fields: object) -> History:
    return [*history[:index], msgspec.structs.replace(history[index], **fields), *history[index + 1 :]]


def without(history: History, unwanted: Callable[[Happening], bool]) -> History:
    return [event for event in history if not unwanted(event)]


@given(seeds, st.integers(0, 12))
def test_nothing_is_found_in_the_history_of_a_cluster_that_kept_its_word(seed: int, changes: int) -> None:
    assert check(told(seed, changes)) == []


def test_a_history_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "history.jsonl", told())
    assert read(tmp_path / "history.jsonl") == told()


def test_a_history_that_was_kept_is_judged_by_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "history.jsonl", told())
    assert main([str(tmp_path / "history.jsonl")]) == 0
    write(tmp_path / "history.jsonl", [*told(), Died(1.0, "server-c1s1", -11)])
    assert main([str(tmp_path / "history.jsonl")]) == 1
    assert "nobody_died: server-c1s1 ended by itself" in capsys.readouterr().out


class TestWhatWasAcknowledged:
    @given(seeds)
    def test_a_deployment_that_was_acknowledged_and_is_not_there_is_lost(self, seed: int) -> None:
        history = told(seed)
        answers = [one for one in history if isinstance(one, Answered) and one.outcome == "ok" and one.rollout]
        victim = random.Random(seed).choice(answers)
        history = without(history, lambda event: isinstance(event, Rollout) and event.rollout == victim.rollout)
        assert "acknowledged" in rules(history)

    @given(seeds)
    def test_a_publish_that_was_acknowledged_and_is_not_there_is_lost(self, seed: int) -> None:
        history, version = told(seed), str(random.Random(seed).randint(1, 6))
        lost = without(history, lambda event: isinstance(event, Catalog) and event.version == version)
        assert "acknowledged" in rules(lost)
        unlisted = without(history, lambda event: isinstance(event, Listed) and event.version == version)
        assert "acknowledged" in rules(unlisted)

    def test_a_version_that_became_another_one(self) -> None:
        assert "acknowledged" in rules([*told(), Catalog(1000, "1", manifest("2"))])

    def test_a_version_that_went(self) -> None:
        assert "acknowledged" in rules([*told(), Catalog(1000, "1", "")])

    def test_a_deployment_that_was_refused_and_done(self) -> None:
        history = told()
        assert rules(changed(history, last(history, Answered), outcome="refused")) == {"acknowledged"}

    def test_a_deployment_that_was_done_twice(self) -> None:
        history = told()
        done = history[last(history, Rollout)]
        assert isinstance(done, Rollout)
        again = msgspec.structs.replace(done, rollout="r999", revision=1000)
        assert rules([*history, again]) == {"acknowledged"}

    def test_a_deployment_that_was_answered_with_another_number(self) -> None:
        history = told()
        assert rules(changed(history, last(history, Answered), rollout="r999")) == {"acknowledged"}

    def test_a_rollout_and_a_version_that_nobody_asked_for(self) -> None:
        history = [*told(), Rollout(1000, "r999", "0", ("board=c9s9",), 1)]
        assert "acknowledged" in rules(history)
        assert rules([*told(), Catalog(1000, "999", "manifest-999")]) == {"acknowledged"}

    def test_what_has_no_answer_may_be_there_or_not(self) -> None:
        history = told()
        call = history[last(history, Deployed)]
        assert isinstance(call, Deployed)
        unanswered = without(history, lambda event: isinstance(event, Answered) and event.call == call.call)
        assert check(unanswered) == []
        assert check([*history, Deployed(999.0, 999, "0", ("chassis=1",))]) == []


class TestOrder:
    @given(seeds)
    def test_two_deployments_that_change_places(self, seed: int) -> None:
        history = told(seed)
        answers = {one.call: one for one in history if isinstance(one, Answered)}
        ok = [one for one in history if isinstance(one, Deployed) and answers[one.call].outcome == "ok"]
        if len(ok) < 2:
            return
        first, second = ((ok[number].version, ok[number].selectors) for number in (0, -1))
        at = {
            (event.version, event.selectors): (index, event)
            for index, event in enumerate(history)
            if isinstance(event, Rollout)
        }
        (here, one), (there, other) = at[first], at[second]
        history = changed(history, here, revision=other.revision)
        assert "in_order" in rules(changed(history, there, revision=one.revision))


class TestPlans:
    @given(seeds)
    def test_a_plan_onto_one_that_is_not_its_parent(self, seed: int) -> None:
        history = told(seed)
        index = last(history, Plan)
        plan = history[index]
        assert isinstance(plan, Plan)
        stale = msgspec.structs.replace(plan, revision=plan.revision + 1)
        assert "chained" in rules([*history, stale])
        assert "chained" in rules(changed(history, index, parent=plan.parent + 1))

    def test_a_plan_that_names_something_else_than_was_asked_for(self) -> None:
        history = told()
        assert "chained" in rules(changed(history, last(history, Plan), boards={"c1s1": manifest("1")}))


class TestBoards:
    @given(seeds)
    def test_a_board_that_goes_back_a_generation(self, seed: int) -> None:
        history = told(seed)
        index = last(history, Seen)
        seen = history[index]
        assert isinstance(seen, Seen)
        stale = msgspec.structs.replace(seen, generation=seen.generation - 1)
        assert "never_back" in rules([*history[: index + 1], stale, *history[index + 1 :]])

    @given(seeds)
    def test_a_board_that_runs_what_no_plan_named(self, seed: int) -> None:
        history = told(seed)
        assert "as_planned" in rules(changed(history, last(history, Seen), running="manifest-elsewhere"))
        foreign = changed(history, last(history, Runs), version="elsewhere", content=content("elsewhere"))
        assert "as_planned" in rules(foreign)

    def test_a_board_that_wants_what_its_plan_does_not_name(self) -> None:
        history = told()
        assert "as_planned" in rules(changed(history, last(history, Seen), wanted=manifest("1")))

    def test_a_board_whose_plan_was_never_committed(self) -> None:
        history = told()
        assert "as_planned" in rules(changed(history, last(history, Seen), generation=1000))

    def test_a_version_that_is_there_by_half(self) -> None:
        history = told()
        assert rules(changed(history, last(history, Runs), content="half")) == {"as_planned"}

    def test_a_board_that_does_not_come_to_run_what_is_planned(self) -> None:
        history = told()
        index = last(history, Seen)
        assert rules(changed(history, index, state="downloading")) == {"converged"}
        assert "converged" in rules(changed(history, index, at=10_000.0)), "too late"

    def test_a_board_that_only_says_that_it_runs_it(self) -> None:
        history = told()
        assert rules(changed(history, last(history, Runs), version="1", content=content("1"))) >= {"converged"}

    def test_a_history_that_ends_too_soon(self) -> None:
        assert rules(without(told(), lambda event: isinstance(event, Healed))) == {"converged"}

    def test_bytes_that_came_again(self) -> None:
        assert rules([*told(), Refetched("c1s1", "1", 0)]) == set()
        assert rules([*told(), Refetched("c1s1", "1", 1)]) == {"nothing_twice"}


class TestServers:
    def test_a_server_that_goes_back_a_generation(self) -> None:
        assert rules([Said(0.0, "c2s1", "standby", 2), Said(0.1, "c2s1", "standby", 1), *told()]) == {"never_back"}

    def test_a_server_that_was_killed_may_begin_with_an_older_copy_of_the_state(self) -> None:
        before, after = Said(0.0, "c2s1", "standby", 2), Said(0.2, "c2s1", "standby", 1)
        assert check([before, FaultBegan(0.1, 1, "kill", ("server-c2s1",)), after, *told()]) == []
        assert check([before, Died(0.1, "server-c2s1", -9), after, *told()]) != []
        assert rules([before, FaultBegan(0.1, 1, "kill", ("server-c1s1",)), after, *told()]) == {"never_back"}

    def test_two_holders_of_one_epoch(self) -> None:
        history = [*told(), Lease(1000, "c1s1", 1000), Lease(1001, "c2s1", 1000)]
        assert rules(history) == {"one_active"}

    def test_a_holder_that_hands_over_keeps_its_epoch(self) -> None:
        assert check([*told(), Lease(1000, "c1s1", 1000), Lease(1001, "", 1000), Lease(1002, "c2s1", 1001)]) == []

    def test_an_epoch_that_goes_back(self) -> None:
        assert rules([*told(), Lease(1000, "c1s1", 1000), Lease(1001, "c1s1", 999)]) == {"one_active"}

    def test_a_program_that_ends_by_itself(self) -> None:
        assert rules([*told(), Died(1.0, "agent-c1s3", 1, "MemoryError")]) == {"nobody_died"}
