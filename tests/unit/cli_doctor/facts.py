"""Facts of a node that is well, and any facts at all."""

import enum
import types
import typing
from typing import Any

import msgspec
from hypothesis import strategies as st

from boardwright.cli.doctor.finding import Check, Finding, Level
from boardwright.cli.doctor.node_facts import ClockFacts, InterfaceFacts, NodeFacts, ServerFacts, WayFacts
from boardwright.model.diagnosis import DiskFacts
from boardwright.model.location import Location

NOW = 1.8e9  # seconds since the epoch
GB = 1_000_000_000
GROUP = "239.255.66.87:6687"
HERE = Location("1", "3")
NEAR = ServerFacts("c1s1", Location("1", "1"), "same-chassis", "https://10.0.1.1:6688", "https://10.0.1.1:6689")
FAR = ServerFacts("c2s1", Location("2", "1"), "elsewhere", "https://10.0.2.1:6688", "https://10.0.2.1:6689")
WELL = NodeFacts(
    program="agent",
    config="/etc/boardwright/agent.toml",
    id="c1s3",
    said=HERE,
    certified=HERE,
    role="board",
    certificate="/etc/boardwright/certificate.pem",
    interfaces=(InterfaceFacts("eth1", "10.0.1.3", "up"),),
    multicast=WayFacts(GROUP, {"c1s1": 0.002, "c2s1": 0.004}, looped=True),
    servers=(NEAR, FAR),
    disks=(DiskFacts(path="/opt/boardwright", free=50 * GB, reserve=GB),),
    clock=ClockFacts(NOW, NOW - 3600),
    ledger="/var/lib/boardwright/agent/ledger.json",
    lock="/var/lib/boardwright/agent/lock",
    runs=True,
)


def but(**fields: Any) -> NodeFacts:
    """A node that is well but for these facts."""
    return msgspec.structs.replace(WELL, **fields)


def wrong(findings: typing.Iterable[Finding]) -> dict[tuple[Check, str], Level]:
    """What is not fine, by check and subject."""
    return {(one.check, one.subject): one.level for one in findings if one.level is not Level.OK}


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a struct's field types, structs and all."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([anything(one) for one in arguments])
    if origin is tuple:
        return st.lists(anything(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(anything(arguments[0]), anything(arguments[1]), max_size=3)
    if kind is type(None):
        return st.none()
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{name: anything(hints[name]) for name in kind.__struct_fields__})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    plain = {
        str: st.sampled_from(["", "c1s1", "c2s1", "etcd", "sqlite", "server", "active", "down", "silent"]),
        int: st.integers(-1, 2**63),
        float: st.floats(allow_nan=True, allow_infinity=True),
        bool: st.booleans(),
    }
    return plain[kind]
