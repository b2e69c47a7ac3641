"""Whom a test's cluster knows: real certificates and keys, made as `boardwright init` makes them."""

from pathlib import Path

from boardwright.cli.enrolling import enroll_board
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.trust.credentials import Credentials
from boardwright.trust.identity import Authority, Role
from boardwright.trust.issuing import NOWHERE, Issuer, new_key


class Identities:
    """The authority of one test cluster."""

    def __init__(self, cluster: str = "test") -> None:
        self.cluster = cluster
        self.issuer = Issuer.authority(cluster)
        self.authority = Authority(self.issuer.certificate, cluster)

    def board(self, subject: str, chassis: str = "1", slot: str = "9") -> Credentials:
        return self._made(subject, Role.BOARD, Location(chassis, slot))

    def server(self, subject: str, chassis: str = "1", slot: str = "1") -> Credentials:
        return self._made(subject, Role.SERVER, Location(chassis, slot))

    def person(self, role: Role, subject: str = "somebody") -> Credentials:
        return self._made(subject, role, NOWHERE)

    def write(self, folder: Path, board: Board) -> None:
        """What a program of this board finds beside its configuration."""
        enroll_board(folder, board, self.issuer)

    def _made(self, subject: str, role: Role, location: Location) -> Credentials:
        key = new_key()
        return Credentials((self.issuer.issue(subject, role, location, key.public_key()),), key, self.authority)
