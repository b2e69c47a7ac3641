"""GET /v1/diagnosis: what this server finds when it examines itself; every server answers for itself."""

from litestar import get
from litestar.handlers import HTTPRouteHandler

from boardwright.model.diagnosis import Diagnosis
from boardwright.server.examiner import Examiner


def routes(examiner: Examiner) -> list[HTTPRouteHandler]:
    @get("/v1/diagnosis")
    async def diagnosis() -> Diagnosis:
        return await examiner.diagnosis()

    return [diagnosis]
