"""What an engine is like at this moment, for the doctor: every endpoint of etcd by itself, or the file of sqlite.

Rules:

* Nothing is changed, and nothing is raised: what is wrong is a sentence in the facts.
* Endpoints are asked at the same time, each for itself and without the quorum, so that one that hangs costs what it
  costs alone (``ENDPOINT_SECONDS``, a few times) and a member without a leader still says so.
"""

import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from urllib3.exceptions import HTTPError

from boardwright.errors import BoardwrightError
from boardwright.model.diagnosis import EndpointFacts, EngineFacts
from boardwright.model.endpoints import SCHEME, Endpoint, read_endpoints, write_endpoint
from boardwright.state.etcd_client import EtcdAccess, EtcdClient
from boardwright.state.etcd_messages import MEMBERS, STATUS, MembersReply, StatusReply

SQLITE = "sqlite:"
MAX_ERRORS = 8  # of etcd's own sentences; it has three kinds of them
MAX_SENTENCE = 300  # characters of each
# The header of a sqlite file (https://sqlite.org/fileformat2.html section 1.3): its length, and two bytes in it.
HEADER, READ_VERSION, WAL = 100, 19, 2
MAGIC = b"SQLite format 3\0"


def examine_engine(engine: str, access: EtcdAccess) -> EngineFacts:
    """Facts of ``memory:``, ``sqlite:/path`` or ``etcd://...``; blocks for some seconds at most, never raises."""
    if engine.startswith(SCHEME):
        return _etcd(engine, access)
    if engine.startswith(SQLITE):
        return _sqlite(Path(engine.removeprefix(SQLITE)))
    return EngineFacts(kind=engine.partition(":")[0])


def _etcd(engine: str, access: EtcdAccess) -> EngineFacts:
    try:
        endpoints = read_endpoints(engine)
    except BoardwrightError as error:
        return EngineFacts(kind="etcd", trouble=str(error))
    with ThreadPoolExecutor(len(endpoints), thread_name_prefix="examine") as pool:
        return EngineFacts(
            kind="etcd", endpoints=tuple(pool.map(lambda endpoint: _endpoint(endpoint, access), endpoints))
        )


def _endpoint(endpoint: Endpoint, access: EtcdAccess) -> EndpointFacts:
    name = write_endpoint(endpoint)
    try:
        client = EtcdClient((endpoint,), access)
    except (BoardwrightError, OSError) as error:
        return EndpointFacts(endpoint=name, trouble=str(error))
    try:
        status = client.read(STATUS, {}, StatusReply)
        members = client.read(MEMBERS, {}, MembersReply).members
        return EndpointFacts(
            endpoint=name,
            member=status.header.member_id,
            release=status.version,
            has_leader=status.leader not in ("", "0"),
            is_learner=status.is_learner,
            voters=sum(not member.is_learner for member in members),
            learners=sum(member.is_learner for member in members),
            database=status.db_size,
            in_use=status.db_size_in_use,
            quota=status.db_size_quota,
            errors=tuple(error[:MAX_SENTENCE] for error in status.errors[:MAX_ERRORS]),
            expires=_expires(client, endpoint) if access.ca is not None else None,
        )
    except BoardwrightError as error:
        return EndpointFacts(endpoint=name, trouble=str(error).removeprefix("etcd does not answer: "))
    finally:
        client.close()


def _expires(client: EtcdClient, endpoint: Endpoint) -> float | None:
    """When the certificate that the endpoint shows ends, since the epoch; None if that cannot be seen."""
    connection = client.connect(endpoint)
    try:
        connection.connect()
        shown: Mapping[str, Any] = getattr(connection.sock, "getpeercert", dict)() or {}
        return float(ssl.cert_time_to_seconds(shown["notAfter"]))
    except (HTTPError, OSError, KeyError, ValueError):
        return None
    finally:
        connection.close()


def _sqlite(path: Path) -> EngineFacts:
    """By the file's header, without opening it as a database: that would make files beside it and take locks."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER)
        with suppress(FileNotFoundError):
            size = 0
            size = path.with_name(path.name + "-wal").stat().st_size
    except OSError as error:
        return EngineFacts(kind="sqlite", file=str(path), trouble=f"{path} cannot be read: {error.strerror or error}")
    if not header.startswith(MAGIC) or len(header) < HEADER:
        return EngineFacts(kind="sqlite", file=str(path), trouble=f"{path} is no file of sqlite")
    journal = "wal" if header[READ_VERSION] == WAL else "rollback"
    return EngineFacts(kind="sqlite", file=str(path), journal=journal, journal_bytes=size)
