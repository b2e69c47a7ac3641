"""GET /v1/rollouts: how far each rollout is."""

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from boardwright.model.api import RolloutList
from boardwright.server.rollout_watch import RolloutWatch


def routes(watch: RolloutWatch) -> list[HTTPRouteHandler]:
    @get("/v1/rollouts", sync_to_thread=True)
    def rollouts() -> RolloutList:
        return RolloutList(watch.statuses())

    @get("/v1/rollouts/{rollout:str}", sync_to_thread=True)
    def one_rollout(rollout: FromPath[str]) -> RolloutList:
        found = tuple(status for status in watch.statuses() if status.id == rollout)
        if not found:
            raise NotFoundException(f"no rollout {rollout!r} is known")
        return RolloutList(found)

    return [rollouts, one_rollout]
