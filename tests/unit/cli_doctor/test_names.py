"""The doctor knows the programs' files by name, because commands start without the programs' modules."""

from boardwright.cli.doctor.examine_node import AGENT_LOCK, MIRROR, SERVER_LOCK
from boardwright.server.data_lock import LOCK_NAME


def test_they_are_named_as_the_programs_name_them() -> None:
    assert (SERVER_LOCK, AGENT_LOCK, MIRROR) == (LOCK_NAME, "lock", "mirror.json")
