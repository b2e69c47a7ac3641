"""Configuration: fragments (TOML and drop-ins) are read once, checked, frozen and passed in.

Files -> ``fragments`` (merged, each key with its origin) -> ``section`` (typed reads, errors with file, key and
value) -> ``agent``, ``server``, ``inventory`` -> the frozen structs of ``settings``.
"""

from boardwright.config.agent import load_agent
from boardwright.config.inventory import ClusterInventory, InventoryBoard, load_inventory
from boardwright.config.operator import OperatorSettings, load_operator
from boardwright.config.quantities import parse_duration, parse_rate, parse_size
from boardwright.config.server import load_server
from boardwright.config.settings import Address, AgentSettings, ClusterSettings, ServerSettings

__all__ = [
    "Address",
    "AgentSettings",
    "ClusterInventory",
    "ClusterSettings",
    "InventoryBoard",
    "OperatorSettings",
    "ServerSettings",
    "load_agent",
    "load_inventory",
    "load_operator",
    "load_server",
    "parse_duration",
    "parse_rate",
    "parse_size",
]
