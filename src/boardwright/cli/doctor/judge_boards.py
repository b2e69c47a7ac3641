"""What is wrong with boards, and who waits at the door, by what the active knows (pure)."""

from collections.abc import Iterator

from boardwright.cli.doctor.cluster_facts import ClusterFacts
from boardwright.cli.doctor.finding import Check, Finding, error, fine, named, warning
from boardwright.model.report import SILENT_AFTER, DeploymentState


def judge_boards(facts: ClusterFacts) -> Iterator[Finding]:
    """Findings by kind of trouble; the boards are named."""
    if facts.joiners:
        what = f"{facts.joiners} wait to be let in"
        yield warning(Check.JOINS, "cluster", what, "`boardwright approve` lists them; approve or dismiss them")
    elif facts.joiners == 0:
        yield fine(Check.JOINS, "cluster", "nobody waits to be let in")
    boards = facts.boards
    if boards is None:
        if facts.answers:
            what = "what the boards do is not known: no active answers for them"
            yield warning(Check.BOARDS, "cluster", what, "see the check active")
        return
    silent = [one.id for one in boards if one.seen is None or not one.seen <= SILENT_AFTER]
    failed = [one.id for one in boards if any(group.state is DeploymentState.FAILED for group in one.groups.values())]
    misplaced = [one.id for one in boards if one.conflict]
    if silent:
        what = f"{len(silent)} not heard for {SILENT_AFTER:.0f} s: {named(silent)}"
        do = "look at power, network and agent; on the board: `boardwright doctor --config FOLDER`"
        yield error(Check.BOARDS, "silent", what, do)
    if failed:
        what = f"{len(failed)} failed a deployment: {named(failed)}"
        yield error(Check.BOARDS, "failed", what, "`boardwright boards ID` tells why; then `boardwright retry ID`")
    if misplaced:
        what = f"{len(misplaced)} activate nothing, location-conflict: {named(misplaced)}"
        do = "correct [board] chassis and slot there, or certify it anew for its slot; then restart its agent"
        yield error(Check.BOARDS, "location-conflict", what, do)
    if not (silent or failed or misplaced):
        yield fine(Check.BOARDS, "cluster", f"{len(boards)} boards are heard and well")
