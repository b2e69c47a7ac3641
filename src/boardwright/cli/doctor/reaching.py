"""Tries the two ports of servers as a board would: TLS, session, and an answer that shows that it was let in."""

import asyncio
import socket
from collections.abc import Iterable

import msgspec

from boardwright.cli.doctor.examine_host import trouble_of
from boardwright.cli.doctor.node_facts import NOWHERE, PortFacts, ServerFacts, Trouble
from boardwright.config.settings import Address
from boardwright.errors import BoardwrightError, FailedError, MalformedError
from boardwright.model.api import Health
from boardwright.model.location import Location, tier_between
from boardwright.net.agent_client import CONNECT_TIMEOUT, AgentClient, BusyError
from boardwright.net.udp import written
from boardwright.trust.lines import Lines

MAX_SERVERS = 256  # asked at most; more than the control boards of a large cluster
MAX_HEALTH = 64 * 1024  # bytes
NO_BLOB = "0" * 64  # nobody has it: who says so has let us in
NOT_THERE = " answered 404"
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Known(msgspec.Struct, frozen=True):
    """A server by what this node remembers or has just heard of it; `location` is None if that is not known."""

    id: str
    api: str
    location: Location | None = None
    blobs: str = ""


async def reach(lines: Lines, own: Location, servers: Iterable[Known]) -> tuple[ServerFacts, ...]:
    """How each is reached from a board in `own`, all at the same time."""
    client = AgentClient(lines)
    try:
        asked = list(servers)[:MAX_SERVERS]
        return tuple(await asyncio.gather(*(asyncio.to_thread(_server, client, own, one) for one in asked)))
    finally:
        client.close()


def port_facts(lines: Lines, what: str, address: Address) -> PortFacts:
    """Who answers where a server of this host should listen."""
    name, end = written(address), (LOOPBACK.get(address[0], address[0]), address[1])
    try:
        socket.create_connection(end, CONNECT_TIMEOUT).close()
    except OSError as error:
        return PortFacts(what, name, trouble=error.strerror or str(error))
    client = AgentClient(lines)
    try:
        return PortFacts(what, name, taken=True, server=_health(client, f"https://{written(end)}").server)
    except BoardwrightError as error:
        return PortFacts(what, name, taken=True, trouble=trouble_of(error).what)
    finally:
        client.close()


def _server(client: AgentClient, own: Location, one: Known) -> ServerFacts:
    blobs, trouble = one.blobs, None
    try:
        health = _health(client, one.api)
        blobs = blobs or health.blobs
        if health.server != one.id:
            what = f"{health.server} answers at the address of {one.id}"
            trouble = Trouble(what, "give one of the two another address")
    except BoardwrightError as error:
        trouble = trouble_of(error)
    return ServerFacts(
        id=one.id,
        location=one.location or NOWHERE,
        tier=tier_between(own, one.location).value if one.location is not None else "not heard now",
        api=one.api,
        blobs=blobs,
        api_trouble=trouble,
        blobs_trouble=_blobs_trouble(client, blobs) if blobs else None,
    )


def _health(client: AgentClient, api: str) -> Health:
    data = client.signed_file(f"{api}/v1/health", MAX_HEALTH)
    try:
        return msgspec.json.decode(data, type=Health)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(f"{api} does not answer as a server of Boardwright") from error


def _blobs_trouble(client: AgentClient, blobs: str) -> Trouble | None:
    try:
        client.signed_file(f"{blobs}/v1/blobs/{NO_BLOB}", MAX_HEALTH)
    except BusyError:
        return None  # it lives, and says that it has no room now
    except FailedError as error:
        return None if NOT_THERE in str(error) else trouble_of(error)
    except BoardwrightError as error:
        return trouble_of(error)
    return None
