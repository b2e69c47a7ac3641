"""Writes ``docs/agent-states.md`` from the machine's table: ``python -m boardwright.agent.diagram > FILE``."""

import re
import sys

from boardwright.agent.deployment import Event, Tick, Wanted
from boardwright.agent.machine import TABLE
from boardwright.model.report import DeploymentState

HEAD = """# The states of a deployment

One software group on one board. This page is generated from the table in `boardwright/agent/machine.py` by
`python -m boardwright.agent.diagram > docs/agent-states.md`; a test compares the two.

Arrows that a new wish of the plan (`wanted`) causes between settled states are left out of the picture; they are in the
table. `tick` is the state's timeout.
"""

_SETTLED = {DeploymentState.IDLE, DeploymentState.CONFIRMED, DeploymentState.FAILED}


def page() -> str:
    """The whole page as Markdown with a Mermaid picture."""
    return f"{HEAD}\n```mermaid\n{picture()}```\n\n{table()}"


def picture() -> str:
    """The table as a Mermaid state diagram; events that change no state are left out."""
    arrows: dict[tuple[DeploymentState, DeploymentState], list[str]] = {}
    for state, events in TABLE.items():
        for event, transition in events.items():
            for to in transition.to:
                if to is state or (to in _SETTLED and event in (Wanted, Tick) and state in _SETTLED):
                    continue
                arrows.setdefault((state, to), []).append(_words(event))
    lines = ["stateDiagram-v2", f"    [*] --> {_id(DeploymentState.IDLE)}"]
    lines += [f'    state "{state.value}" as {_id(state)}' for state in TABLE]
    lines += [f"    {_id(start)} --> {_id(end)}: {', '.join(events)}" for (start, end), events in arrows.items()]
    return "\n".join(lines) + "\n"


def table() -> str:
    """The table as Markdown."""
    lines = ["| state | event | may lead to | |", "|---|---|---|---|"]
    for state, events in TABLE.items():
        for event, transition in events.items():
            states = ", ".join(to.value for to in dict.fromkeys(transition.to))
            lines.append(f"| {state.value} | {_words(event)} | {states} | {transition.note} |")
    return "\n".join(lines) + "\n"


def _words(event: type[Event]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", event.__name__).lower()


def _id(state: DeploymentState) -> str:
    return state.value.replace("-", "_")


if __name__ == "__main__":
    sys.stdout.write(page())
