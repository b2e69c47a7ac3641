"""What a plan means for the groups of a board."""

from boardwright.agent.deployment import Wanted
from boardwright.agent.following import follow
from boardwright.boot.names import AGENT_GROUP, SERVER_GROUP
from boardwright.model.plan import BoardPlan
from boardwright.model.software import Target

ONE = Target(SERVER_GROUP, "1", "*", "a" * 64)


def test_boardwright_itself_goes_where_the_plan_does_not_name_it_and_other_software_stays() -> None:
    said = dict(follow(BoardPlan(7, {SERVER_GROUP: ONE}), ("platform", SERVER_GROUP, AGENT_GROUP), 0))
    assert said[SERVER_GROUP] == Wanted(ONE)
    assert {group: event.leave for group, event in said.items() if isinstance(event, Wanted)} == {
        "platform": False,
        SERVER_GROUP: False,
        AGENT_GROUP: True,
    }


def test_no_plan_takes_nothing_away() -> None:
    ((_, event),) = follow(BoardPlan(0), (SERVER_GROUP,), 0)
    assert isinstance(event, Wanted)
    assert not event.leave
