"""Asks every server of a cluster how it is, those that the operator's folder names and those that servers name.

Rules:

* All are asked at the same time, a server that another one names as soon as it is named. After ``PATIENCE`` whoever has
  not answered does not answer.
* A server is known by its id; two addresses of one are one server.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import msgspec

from boardwright.cli.doctor.cluster_facts import ClusterFacts, ServerSeen
from boardwright.cli.doctor.examine_host import trouble_of
from boardwright.cli.doctor.node_facts import Trouble
from boardwright.errors import BoardwrightError
from boardwright.model.admission import JoinerList
from boardwright.model.api import BoardList, BoardStatus
from boardwright.model.diagnosis import PATH, Diagnosis
from boardwright.net.diagnosing import Diagnosing

PATIENCE = 4.0  # seconds for all servers; one that lives needs two at most, a dead one is known to be after one
AT_ONCE = 256  # servers asked at the same time
LATE = Trouble(f"did not answer within {PATIENCE:g} s", "does it hang? `systemctl restart boardwright-server` there")


def examine_cluster(
    client: Diagnosing, bases: Sequence[str], cluster: str, wall: Callable[[], float] = time.time
) -> ClusterFacts:
    """Facts of the cluster whose servers are at `bases`, and of those that they name; never raises for a server."""
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="doctor")
    try:
        seen = _ask_all(pool, client, bases, wall)
        active = next((one for one in seen if one.diagnosis is not None and one.diagnosis.role == "active"), None)
        boards, joiners = None, None
        if active is not None:
            asked = pool.submit(_boards, client, active.api), pool.submit(_joiners, client, active.api)
            boards, joiners = asked[0].result(), asked[1].result()
        return ClusterFacts(cluster=cluster, now=wall(), servers=seen, boards=boards, joiners=joiners)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ask_all(
    pool: ThreadPoolExecutor, client: Diagnosing, bases: Sequence[str], wall: Callable[[], float]
) -> tuple[ServerSeen, ...]:
    deadline = time.monotonic() + PATIENCE
    names: dict[str, str] = {}  # the ids of servers by their address, as other servers say
    asked: dict[Future[ServerSeen], str] = {}
    pending: set[Future[ServerSeen]] = set()
    found: dict[str, ServerSeen] = {}

    def ask(base: str) -> None:
        if base not in asked.values():
            future = pool.submit(_ask, client, base, wall)
            asked[future] = base
            pending.add(future)

    for base in bases:
        ask(base)
    while pending and (left := deadline - time.monotonic()) > 0:
        done, _ = wait(pending, timeout=left, return_when=FIRST_COMPLETED)
        pending -= done
        for future in done:
            one = future.result()
            found[asked[future]] = one
            for known in one.diagnosis.servers if one.diagnosis is not None else ():
                names[known.api] = known.id
                ask(known.api)
    seen = [found.get(base, ServerSeen(id="", api=base, trouble=LATE)) for base in asked.values()]
    return _by_id(seen, names)


def _by_id(seen: Sequence[ServerSeen], names: dict[str, str]) -> tuple[ServerSeen, ...]:
    """Each server once; of one that was asked at two addresses, the one at which it answered."""
    servers: dict[str, ServerSeen] = {}
    for one in seen:
        name = one.id or names.get(one.api, one.api)
        known = servers.get(name)
        if known is None or known.diagnosis is None:
            servers[name] = msgspec.structs.replace(one, id=name)
    return tuple(servers[name] for name in sorted(servers))


def _ask(client: Diagnosing, base: str, wall: Callable[[], float]) -> ServerSeen:
    try:
        diagnosis = client.get(base, PATH, Diagnosis)
    except BoardwrightError as error:
        return ServerSeen(id="", api=base, trouble=trouble_of(error))
    return ServerSeen(id=diagnosis.server, api=base, diagnosis=diagnosis, ahead=diagnosis.clock - wall())


def _boards(client: Diagnosing, base: str) -> tuple[BoardStatus, ...] | None:
    try:
        return client.get(base, "/v1/boards", BoardList).boards
    except BoardwrightError:
        return None  # it is the active no more, or died: the checks say which


def _joiners(client: Diagnosing, base: str) -> int | None:
    try:
        return len(client.get(base, "/v1/joins", JoinerList).joiners)
    except BoardwrightError:
        return None
