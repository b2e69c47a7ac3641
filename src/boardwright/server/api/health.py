"""GET /v1/health: any server, whether the engine is up or down."""

from litestar import get
from litestar.handlers import HTTPRouteHandler

from boardwright import __version__
from boardwright.model.api import Health
from boardwright.server.api.gate import Standing
from boardwright.server.mirror import Mirror


def routes(server: str, cluster: str, blobs: str, mirror: Mirror, standing: Standing) -> list[HTTPRouteHandler]:
    @get("/v1/health", sync_to_thread=False)
    def health() -> Health:
        active = standing.active()
        return Health(
            server=server,
            cluster=cluster,
            role="active" if standing.is_active else "standby",
            generation=mirror.state.plan.generation,
            release=__version__,
            engine=standing.engine,
            active=None if active is None else active.api,
            blobs=blobs,
        )

    return [health]
