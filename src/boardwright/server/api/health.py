"""GET /v1/health: any server, whether the engine is up or down."""

from collections.abc import Callable
from typing import Protocol

from litestar import get
from litestar.handlers import HTTPRouteHandler

from boardwright import __version__
from boardwright.model.api import Health
from boardwright.server.api.gate import Standing
from boardwright.server.mirror import Mirror
from boardwright.server.working import Situation, waits, works


class Own(Protocol):
    """What this server knows of itself: the release that runs, and versions of the plan that are not wholly here."""

    @property
    def running(self) -> str: ...
    def lacking(self) -> tuple[str, ...]: ...


def routes(
    server: str,
    cluster: str,
    blobs: str,
    mirror: Mirror,
    standing: Standing,
    own: Own,
    caught_up: Callable[[], bool],
) -> list[HTTPRouteHandler]:
    @get("/v1/health", sync_to_thread=False)
    def health() -> Health:
        active = standing.active()
        now = Situation(
            generation=mirror.state.plan.generation,
            caught_up=caught_up(),
            engine=standing.engine,
            active=active is not None,
            lacking=own.lacking(),
        )
        return Health(
            server=server,
            cluster=cluster,
            role="active" if standing.is_active else "standby",
            generation=now.generation,
            release=__version__,
            engine=now.engine,
            active=None if active is None else active.api,
            blobs=blobs,
            works=works(now),
            waits=waits(now),
            running=own.running,
        )

    return [health]
