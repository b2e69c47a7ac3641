"""The members of a cluster's own etcd: which boards they are, and what is written for each (pure).

Rules:

* A member is a board whose address stands in ``engine = "etcd://..."``; one without a server is a **witness**: it only
  votes. If no endpoint is a board, the etcd is somebody else's and nothing is written for it.
* An endpoint that is no board, beside others that are, is a member on a management host: it gets files, too.
* Members talk to each other on the port after that of their clients (2380 after 2379).
* A new cluster begins with all its members. Members that come later are added one after another, in the order of
  ``engine``: each begins with those that were there before it.
* Every line between members and to them is TLS with certificates of both sides, of the engine's own authority.
* Relative paths resolve against the folder in which etcd is started, which is that of the file.
"""

import json
from pathlib import Path

import msgspec

from boardwright.config.inventory import ClusterInventory, InventoryBoard
from boardwright.model.endpoints import SCHEME, Endpoint, read_endpoints, write_endpoint

CONFIG = "etcd.conf.yml"
FILES = "engine"  # the folder of the certificates, beside the file
CA, CERTIFICATE, KEY = "ca.pem", "certificate.pem", "key.pem"
DATA_DIR = Path("/var/lib/boardwright/etcd")
REVISIONS = 5000  # kept: five times what the servers need to catch up (docs/state.md), some 40 minutes
QUOTA = 2 * 1024**3  # bytes of etcd's database, etcd's own default: written down because it is what fills up
_LOOPBACK = "127."  # several members on one host, in a lab


class Member(msgspec.Struct, frozen=True):
    """`board` is None for a host that is no board of the inventory."""

    name: str
    endpoint: Endpoint
    board: InventoryBoard | None

    @property
    def is_witness(self) -> bool:
        return self.board is None or not self.board.board.server

    @property
    def peer(self) -> Endpoint:
        """Where other members reach it."""
        host, port = self.endpoint
        return host, port + 1


def certified_hosts(host: str) -> tuple[str, ...]:
    """What the certificate of a host names: on loopback every call comes from 127.0.0.1, which etcd compares."""
    return (host, "127.0.0.1") if host.startswith(_LOOPBACK) and host != "127.0.0.1" else (host,)


def members_of(inventory: ClusterInventory) -> tuple[Member, ...]:
    """In the order of ``engine``; empty for another engine, or an etcd that none of the boards is a member of."""
    if not inventory.engine.startswith(SCHEME):
        return ()
    boards = {entry.address: entry for entry in inventory.boards if entry.address is not None}
    members = []
    for endpoint in read_endpoints(inventory.engine):
        entry = boards.get(endpoint[0])
        members.append(Member(entry.board.id if entry else f"host-{endpoint[0]}", endpoint, entry))
    return tuple(members) if any(member.board for member in members) else ()


def etcd_conf(cluster: str, member: Member, begins_with: tuple[Member, ...], *, joins: bool) -> str:
    """etcd's configuration file of a member; `joins`: the others (of `begins_with`) run already."""
    data_dir = member.board.engine_dir if member.board is not None else None
    role = "witness: it votes, no server runs here" if member.is_witness else "control board"
    lines = [
        f"# etcd's member {member.name} of the cluster {cluster} ({role}).",
        "# Written by `boardwright init`; see docs/operate/many.md. Run: etcd --config-file THIS_FILE, in this folder.",
        f"name: {_value(member.name)}",
        f"data-dir: {_value(str(data_dir or DATA_DIR))}",
        f"listen-client-urls: {_value(_url(member.endpoint))}",
        f"advertise-client-urls: {_value(_url(member.endpoint))}",
        f"listen-peer-urls: {_value(_url(member.peer))}",
        f"initial-advertise-peer-urls: {_value(_url(member.peer))}",
        f"initial-cluster: {_value(','.join(f'{one.name}={_url(one.peer)}' for one in begins_with))}",
        f"initial-cluster-token: {_value(f'boardwright-{cluster}')}",
        f"initial-cluster-state: {_value('existing' if joins else 'new')}",
        "# the servers talk to it through this; without the line etcd 3.4 leaves it out if it has a file to read",
        "enable-grpc-gateway: true",
        "# a member that was cut off and comes back deposes nobody",
        "pre-vote: true",
        "# what every renewal of the lease leaves behind is forgotten after so many revisions",
        'auto-compaction-mode: "revision"',
        f'auto-compaction-retention: "{REVISIONS}"',
        f"quota-backend-bytes: {QUOTA}",
        'logger: "zap"',
        'log-level: "warn"',
    ]
    for section in ("client-transport-security", "peer-transport-security"):
        lines += [
            f"{section}:",
            f"  cert-file: {_value(f'{FILES}/{CERTIFICATE}')}",
            f"  key-file: {_value(f'{FILES}/{KEY}')}",
            f"  trusted-ca-file: {_value(f'{FILES}/{CA}')}",
            "  client-cert-auth: true",
        ]
    return "\n".join([*lines, ""])


def engine_sentences(inventory: ClusterInventory) -> tuple[str, ...]:
    """What the operator should know about the members before he starts them."""
    if not inventory.engine.startswith(SCHEME):
        return ()
    members = members_of(inventory)
    if not members:
        sentence = (
            f"no board has an address in {inventory.engine}: that etcd is somebody else's and nothing is written for "
            "it; give its certificates in [state] of every server.toml (docs/state.md)"
        )
        return (sentence,)
    sentences = []
    voters = len(members)
    if voters == 2:
        sentences.append(
            "two etcd members are worse than one: without either of them nothing can be changed; add a witness, a "
            "third endpoint on any line board or management host (docs/operate/two.md)"
        )
    elif voters == 1 and len(inventory.servers) > 1:
        sentences.append(
            f"{members[0].name} is the only etcd member: while it is down nothing can be changed; "
            "three endpoints survive the loss of one"
        )
    elif voters % 2 == 0:
        sentences.append(f"{voters} etcd members survive no more losses than {voters - 1}: make them an odd number")
    sentences += [
        f"{member.endpoint[0]} is no board: the files of its etcd member are in operator/members/{member.endpoint[0]}"
        for member in members
        if member.board is None
    ]
    return tuple(sentences)


def _url(endpoint: Endpoint) -> str:
    return f"https://{write_endpoint(endpoint)}"


def _value(text: str) -> str:
    """A YAML scalar: JSON's strings are YAML's (YAML 1.2 section 1.2)."""
    return json.dumps(text)
