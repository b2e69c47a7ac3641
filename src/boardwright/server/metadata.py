"""The files that boards verify a plan and its versions by, out of this server's own copy of the state.

Rules:

* Everything is answered from memory, with the engine or without it.
* What was the newest a moment ago is kept for those who have begun with it: a board that read the timestamp before a
  change still finds the snapshot that it names.
* Parts of the plan are made from the plan when somebody asks, and named by their digest.
"""

import threading

from boardwright.model.plan import Plan
from boardwright.model.software import digest_of
from boardwright.server.mirror import Mirror, MirrorState
from boardwright.server.signing import signed_of
from boardwright.trust.shards import shards_of

KEPT = 4  # sets of files; a refresh takes milliseconds, and plans are committed twice a second at most


class MetadataFiles:
    """What ``GET /v1/metadata/...`` answers; from any thread."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._lock = threading.Lock()
        self._signed: dict[str, bytes] | None = None
        self._plan: Plan | None = None
        self._files: list[dict[str, bytes]] = []
        self._shards: list[dict[str, bytes]] = []

    def get(self, name: str) -> bytes | None:
        """A role's file by the name that clients ask for; None if there is none."""
        with self._lock:
            self._follow(self._mirror.state)
            return next((files[name] for files in self._files if name in files), None)

    def shard(self, name: str) -> bytes | None:
        """A part of the plan by ``SHA256.NUMBER``; None if there is none."""
        with self._lock:
            self._follow(self._mirror.state)
            return next((shards[name] for shards in self._shards if name in shards), None)

    def _follow(self, state: MirrorState) -> None:
        if state.signed is not self._signed:
            self._signed = state.signed
            self._files = [signed_of(state.signed).files, *self._files[: KEPT - 1]]
        if state.plan is not self._plan:
            self._plan = state.plan
            made = {
                f"{digest_of(data)}.{path.rpartition('/')[2]}": data for path, data in shards_of(state.plan).items()
            }
            self._shards = [made, *self._shards[: KEPT - 1]]
