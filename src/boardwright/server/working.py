"""What a server does at this moment and what waits, in sentences for people: /v1/health and ``boardwright status``."""

import msgspec

NAMED = 3  # versions that a sentence names
CHANGES = "changes: publish, deploy, retry, joins, tokens, trust"
LISTS = "the lists of boards, servers, software and rollouts"


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """`engine`: '' or why the engine does not answer; `active`: whether somebody takes changes.

    `lacking` are the versions of the plan that are not wholly here.
    """

    generation: int
    caught_up: bool
    engine: str
    active: bool
    lacking: tuple[str, ...] = ()


def works(now: Situation) -> tuple[str, ...]:
    """What goes on."""
    sentences = []
    if now.caught_up and now.generation:
        but = "" if not now.lacking else ", but for what is still being copied"
        sentences.append(f"boards get plan generation {now.generation} and its versions{but}")
    elif now.caught_up:
        sentences.append("boards are answered; there is no plan yet")
    if now.active:
        sentences += [CHANGES, LISTS]
    return tuple(sentences)


def waits(now: Situation) -> tuple[str, ...]:
    """What does not, and for what it waits."""
    sentences = []
    if not now.caught_up:
        sentences.append("offers to boards: this server has just started and first hears what has changed")
    if now.lacking:
        named = ", ".join(now.lacking[:NAMED]) + (" ..." if len(now.lacking) > NAMED else "")
        sentences.append(f"offers of {named}: still being copied to this server")
    if not now.active:
        until = "until the engine answers" if now.engine else "until a server is active, within seconds"
        sentences += [f"{CHANGES}; {until}", f"{LISTS}; {until}"]
    return tuple(sentences)
