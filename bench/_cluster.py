"""The folders of a small cluster for the benchmarks, made by `init` as an operator makes them."""

import json
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from boardwright.cli.init import init
from boardwright.model.location import Location
from boardwright.trust.credentials import Credentials, load_authority, load_credentials
from boardwright.trust.identity import Authority


class Place(msgspec.Struct, frozen=True):
    """A board of the benchmark."""

    id: str
    location: Location
    address: str
    server: bool = True


class Folders(msgspec.Struct, frozen=True):
    """What `init` made below `root`."""

    root: Path
    cluster: str

    def of(self, board: str) -> Path:
        return self.root / "out" / board

    def credentials(self, board: str) -> Credentials:
        folder = self.of(board)
        return load_credentials(folder / "certificate.pem", folder / "key.pem", folder / "trust", self.cluster)

    @property
    def authority(self) -> Authority:
        return load_authority(self.of("operator") / "trust", self.cluster)


def lay_out(root: Path, cluster: str, places: Sequence[Place], multicast: str, ports: tuple[int, int]) -> Folders:
    """Make every folder; `multicast` is HOST:PORT or "none", `ports` are those of the API and the blobs."""
    api, blobs = ports
    lines = [
        "[cluster]",
        f"name = {json.dumps(cluster)}",
        f"engine = {json.dumps(f'sqlite:{root}/state.db')}",
        f"multicast = {json.dumps(multicast)}",
        f"api_port = {api}",
        f"blob_port = {blobs}",
        f"relay_port = {max(api, blobs) + 1 if max(api, blobs) < 65535 else min(api, blobs) - 1}",
    ]
    for place in places:
        lines += [
            "[[board]]",
            f"id = {json.dumps(place.id)}",
            f"chassis = {json.dumps(place.location.chassis)}",
            f"slot = {json.dumps(place.location.slot)}",
            'type = "lc"',
            'groups = ["platform"]',
            f"address = {json.dumps(place.address)}",
            f"interface = {json.dumps(place.address)}",
            f"server = {json.dumps(place.server)}",
            *(f"{key} = {json.dumps(f'{root}/{place.id}/{key}')}" for key in ("root", "state_dir", "data_dir")),
        ]
    inventory = root / "cluster.toml"
    inventory.write_text("\n".join(lines) + "\n")
    init(root / "out", inventory)
    return Folders(root, cluster)


def free_ports(hosts: Sequence[str]) -> tuple[int, int]:
    """Two ports that are free on every one of these addresses."""
    while True:
        with socket.socket() as one, socket.socket() as two:
            one.bind((hosts[0], 0))
            two.bind((hosts[0], 0))
            found = int(one.getsockname()[1]), int(two.getsockname()[1])
        if all(_is_free(host, port) for host in hosts for port in found):
            return found


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
