"""What a board's driver needs of the world, as narrow interfaces: hands that do the work, and the world outside."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from boardwright.agent import deployment as d
from boardwright.agent.downloads import Download
from boardwright.agent.order import Release
from boardwright.agent.timing import DEFAULT_TIMING, MachineTiming
from boardwright.model.software import Target
from boardwright.protocol.messages import Offer
from boardwright.protocol.timing import RequestTiming
from boardwright.transfer.sharing import Sharing
from boardwright.transfer.sources import FetchSource


class Timings(msgspec.Struct, frozen=True):
    """The times of the deployment machine and of the protocol."""

    machine: MachineTiming = DEFAULT_TIMING
    request: RequestTiming = RequestTiming()


class Hands(Protocol):
    """What carries actions out; answers come by ``BoardDriver.happened``."""

    def running(self, group: str) -> Target | None: ...
    def holds(self, target: Target) -> bool: ...
    def release(self, target: Target) -> Release: ...
    def activation_limit(self, target: Target) -> float: ...
    def download(self, download: Download, others: tuple[Target, ...]) -> None: ...
    def activate(self, action: d.Activate) -> None: ...
    def probe(self, action: d.Probe) -> None: ...
    def roll_back(self, action: d.RollBack) -> None: ...
    def confirm(self, action: d.Confirm) -> None: ...
    def discard(self, action: d.Discard) -> None: ...
    def stop(self, group: str) -> None: ...


class Outside(Protocol):
    """The control network and the servers' metadata."""

    def send(self, datagrams: Sequence[bytes]) -> None:
        """To the multicast group and every unicast address."""

    def refresh(self, offers: Sequence[Offer], generation: int) -> None:
        """Fetch the plan from `offers` in this order, not older than `generation`; answer by ``planned``.

        What they tell of revoked keys is fetched first, and answered by ``revoked``.
        """

    def source(self, source_id: str, url: str) -> FetchSource:
        """The blobs of this server, whose blob port has the base URL `url`."""
        ...

    def neighbour(self, source_id: str, url: str, sharing: Sharing) -> FetchSource:
        """The pieces of this board, whose relay has the base URL `url`."""
        ...
