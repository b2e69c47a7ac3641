"""When to ask, when to ask again and when to stop waiting: every time of the protocol with its reason.

Rules:

* Nobody is asked in turn: one request reaches all servers at once, so dead ones cost at most the window.
* What many boards do because of one event (power-on, an announcement) they spread by jitter.
* Repetitions back off, so that a thousand boards without an answer stay a trickle.
* All times are seconds; ``now`` is monotonic and comes from the caller, as does the randomness.
"""

import msgspec

from boardwright.protocol import Randomness


class RequestTiming(msgspec.Struct, frozen=True):
    """The times of one request round and of the rounds that follow; jitters are shares unless they say seconds."""

    # A lost datagram is made good within the target of 150 ms from request to choice; a server under load
    # answers within it, so that a repetition does not add to the load.
    first_repeat: float = 0.08
    # Doubling halves the load of those that still wait, each time.
    backoff: float = 2.0
    # Every repetition is moved by up to this share either way: boards that power on together drift apart.
    jitter: float = 0.25
    # An agent without any server is heard again this often at least, so that a server that comes back finds it.
    longest_repeat: float = 2.0
    # After the first offer the others have this long. Live servers answer within milliseconds of each other; more
    # would be paid in full whenever a known server is dead.
    window: float = 0.05
    # `agent --once` reports "no offer" after 10 s (design section 12).
    give_up: float = 10.0
    # How long a nearer `preparing` server may hold a board back from a farther tier: a copy of some 100 MB between
    # servers on a gigabit link takes about that long.
    preparing_wait: float = 5.0
    # And how long at most, as long as what that server has copied grows: a search that brings nothing in 30 s is a
    # failed attempt.
    preparing_longest: float = 25.0
    # While it waits for `preparing` the board asks again after this time.
    preparing_repeat: float = 0.5
    # Boards ask within this many seconds after an announcement: 1,000 boards make 2,000 requests a second at most,
    # a tenth of what one server answers.
    announcement_jitter: float = 0.5
    # And within this many seconds after their own start.
    start_jitter: float = 0.5
    # The slow unprompted period varies by this share either way.
    period_jitter: float = 0.25


def repeat_after(attempt: int, timing: RequestTiming, rng: Randomness) -> float:
    """Seconds from transmission number `attempt` (0 is the first) to the next one."""
    # The exponent is bounded before the power is taken: a round that lasts for days must not overflow.
    interval = min(timing.first_repeat * timing.backoff ** min(attempt, 32), timing.longest_repeat)
    return interval * _spread(timing.jitter, rng)


def ask_after_start(timing: RequestTiming, rng: Randomness) -> float:
    """Seconds from the board's start to its first request (power-on of a whole cluster)."""
    return timing.start_jitter * rng.random()


def ask_after_announcement(timing: RequestTiming, rng: Randomness) -> float:
    """Seconds from an announcement of a newer generation to the request."""
    return timing.announcement_jitter * rng.random()


def ask_again_after(period: float, timing: RequestTiming, rng: Randomness) -> float:
    """Seconds to the next unprompted request, `period` on average: a lost announcement costs only time."""
    return period * _spread(timing.period_jitter, rng)


def _spread(share: float, rng: Randomness) -> float:
    return 1.0 + share * (2.0 * rng.random() - 1.0)
