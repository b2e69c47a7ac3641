"""How long the deployment machine's states may last and how often things are tried: every number with its reason."""

import msgspec


class MachineTiming(msgspec.Struct, frozen=True):
    """How long states may last and how often things are tried; seconds."""

    # A search is one round of at most 10 s, the bounded wait for a nearer server that prepares, and one more round.
    search: float = 30.0
    # No byte for this long: the transfer gives up by itself after 15 s, or 300 s where servers are only full.
    stall: float = 330.0
    # Building 4 GiB on slow flash at 5 MB/s takes 15 minutes.
    build: float = 1800.0
    # Hooks and probes are bounded by themselves; this much later the machine stops waiting for their answer.
    slack: float = 30.0
    # Removing a link, after-hooks and restarts of the old version, whose bounds the machine does not know.
    roll_back: float = 600.0
    # Searches and downloads in a row before the state says failed: about two minutes with the back-off.
    attempts: int = 8
    backoff: float = 1.0
    longest_backoff: float = 30.0
    # A failure that is not the version's fault is tried again after this time, for as long as it is wanted.
    retry: float = 300.0
    # A rollback that the disk did not take (it is full) is tried again after this time until it does.
    disk: float = 10.0
    # Restarts of the agent in the middle of a take-over before it is given up.
    restarts: int = 3


DEFAULT_TIMING = MachineTiming()
