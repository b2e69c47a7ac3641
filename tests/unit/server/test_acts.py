"""Every call that changes something has its word in the audit log."""

from boardwright.model.audit import Action
from boardwright.server.api.acts import ACTIONS, UNRECORDED
from boardwright.server.api.callers import ACCESS

CHANGING = {call for call in ACCESS if call[0] != "GET"}


def test_every_call_that_is_no_get_has_an_action_or_a_reason_why_it_has_none() -> None:
    assert set(ACTIONS) | set(UNRECORDED) == CHANGING
    assert not set(ACTIONS) & set(UNRECORDED)
    assert all(UNRECORDED.values())


def test_every_action_is_somebody_s_call_or_the_active_s_own() -> None:
    own = {Action.RETIRE, Action.REVOKE, Action.CALL}
    assert set(ACTIONS.values()) | own == set(Action)
