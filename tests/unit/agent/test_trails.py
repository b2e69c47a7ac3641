"""What a failed deployment leaves: its way, then what programs printed; bounded, printable, over restarts."""

from pathlib import Path

from boardwright.agent import deployment as d
from boardwright.agent.transition_log import MAX_LINES, MAX_TRAIL, Trails
from boardwright.model.report import MAX_LOG, DeploymentState
from boardwright.model.software import Target
from tests.unit.agent.test_driver import P1, P2, World, near

NEW = Target("platform", "2", "*", "b" * 64)
IDLE = d.Deployment("platform")


def requesting(reason: str = "") -> d.Deployment:
    return d.Deployment("platform", phase=d.Requesting(target=NEW, since=0.0, reason=reason))


def failed(log: str = "") -> d.Deployment:
    bad = (d.BadVersion(NEW.manifest, "sick", log),)
    return d.Deployment("platform", phase=d.Failed(target=NEW, reason="sick", log=log), bad=bad)


def log_of(deployment: d.Deployment) -> str:
    assert isinstance(deployment.phase, d.Failed)
    return deployment.phase.log


def test_a_rollback_is_told_step_by_step_before_the_output_and_outlives_the_agent(tmp_path: Path) -> None:
    world = World(tmp_path, near())
    world.deploy(1, P1)
    world.run(10, lambda: world.confirmed(P1))
    world.sick.add(P2.manifest)
    world.deploy(2, P2)
    world.driver.announced(2, world.now)
    assert world.run(30, lambda: world.state("platform") is DeploymentState.FAILED)
    world.run(10)
    told = world.reports[-1].groups["platform"].log
    words = [line.partition(" s ")[2] for line in told.splitlines()[:-1]]
    assert words == [
        "requesting 2",
        "downloading 2",
        "staged 2",
        "activating 2",
        "probing 2",
        "rolling-back 2: exit code 1",
        "failed 2: rolled back to 1: exit code 1",
    ]
    assert told.endswith("boom")
    world.start()
    world.run(10)
    assert world.reports[-1].groups["platform"].log == told


def test_a_version_that_is_bad_already_leaves_no_trail() -> None:
    assert log_of(Trails().moved(IDLE, failed("boom"), 0.0)) == "boom"


def test_what_deployments_before_did_is_not_told() -> None:
    trails = Trails()
    trails.moved(IDLE, requesting("the first"), 0.0)
    trails.moved(requesting(), failed(), 1.0)
    trails.moved(failed(), requesting("the second"), 2.0)
    told = log_of(trails.moved(requesting(), failed(), 3.5))
    assert told == "+0.000 s requesting 2: the second\n+1.500 s failed 2: sick\n"


def test_it_is_bounded_and_keeps_the_newest_and_the_end_of_the_output() -> None:
    trails = Trails()
    trails.moved(IDLE, requesting(), 0.0)
    for number in range(10 * MAX_LINES):
        trails.moved(requesting(), requesting(f"{number} " + "x" * 1000), 1.0)
    told = log_of(trails.moved(requesting(), failed("y" * MAX_LOG + "the end"), 2.0))
    assert len(told) == MAX_LOG
    assert told.endswith("the end")
    assert "failed 2: sick" in told
    assert told.index("yyy") <= MAX_TRAIL


def test_control_characters_do_not_get_through() -> None:
    trails = Trails()
    trails.moved(IDLE, requesting("a\x1b[31mred\nline\u202e"), 0.0)
    told = log_of(trails.moved(requesting(), failed(), 1.0))
    assert told.splitlines()[0] == "+0.000 s requesting 2: a [31mred line "


def test_the_memory_of_the_bad_version_tells_it_too() -> None:
    trails = Trails()
    trails.moved(IDLE, requesting(), 0.0)
    after = trails.moved(requesting(), failed("boom"), 1.0)
    assert after.bad[0].log == log_of(after)
