"""Whom a test's cluster knows: real certificates and keys, made as `boardwright init` makes them."""

import ssl
import tempfile
import time
from pathlib import Path

from boardwright.cli.enrolling import enroll_board, write_private
from boardwright.cli.signing import publication
from boardwright.model.api import Publication, SignedMetadata
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.plan import Plan
from boardwright.model.software import Target, decode_manifest, digest_of
from boardwright.server.callers import Callers
from boardwright.server.clocks import Clocks
from boardwright.server.signing import OnlineKey, Signing, read_signed
from boardwright.state.kv import KV
from boardwright.transfer.listen import KeyFiles
from boardwright.trust.credentials import AUTHORITY, CERTIFICATE, KEY, Credentials
from boardwright.trust.identity import Authority, Role
from boardwright.trust.issuing import NOWHERE, Issuer, certificate_pem, key_pem, new_key
from boardwright.trust.lines import Lines, lines_of
from boardwright.trust.names import ONLINE_KEY, ROOT_FILE, TARGETS_FILE, version_path
from boardwright.trust.offline import RootKeys, SigningKey, new_root, new_targets, signer_of
from boardwright.trust.online import SignedRoles


class Identities:
    """The authority of one test cluster."""

    def __init__(self, cluster: str = "test") -> None:
        self.cluster = cluster
        self.issuer = Issuer.authority(cluster)
        self.authority = Authority(self.issuer.certificate, cluster)
        self._root, self._targets = new_key(), new_key()
        self.online = new_key()  # every server's, because a test adds servers as it goes
        signers = [signer_of(key) for key in (self._root, self._targets, self.online)]
        keys = RootKeys(*([one.public_key] for one in signers))
        now = time.time()
        self.root = new_root(keys, [signers[0]], now)
        self.targets = new_targets(keys.online, signers[1], now)

    def board(self, subject: str, chassis: str = "1", slot: str = "9") -> Credentials:
        return self._made(subject, Role.BOARD, Location(chassis, slot))

    def enrolled(self, subject: str, server: str = "c1s1") -> Credentials:
        """A board that an enroller let in."""
        online, key = new_key(), new_key()
        leave = self.issuer.issue(server, Role.ENROLLER, Location("1", "1"), online.public_key())
        enroller = Issuer(self.cluster, server, online, leave)
        made = enroller.issue(subject, Role.BOARD, Location("1", "9"), key.public_key())
        return Credentials((made, leave), key, self.authority)

    def server(self, subject: str, chassis: str = "1", slot: str = "1") -> Credentials:
        return self._made(subject, Role.SERVER, Location(chassis, slot))

    def person(self, role: Role, subject: str = "somebody") -> Credentials:
        return self._made(subject, role, NOWHERE)

    def write(self, folder: Path, board: Board) -> None:
        """What a program of this board finds beside its configuration."""
        enroll_board(folder, board, self.issuer)
        (folder / "trust" / ROOT_FILE).write_bytes(self.root)
        if board.server:
            (folder / "trust" / TARGETS_FILE).write_bytes(self.targets)
            (folder / ONLINE_KEY).write_bytes(key_pem(self.online))

    def lines(self, who: Credentials | None = None) -> Lines:
        """Lines to this cluster's servers, of a board if it is all the same."""
        return lines_of(who or self.board("c1s9"))

    def callers(self, server: Credentials | None = None) -> Callers:
        """The sessions of a server of this cluster."""
        return Callers(server or self.server("c1s1"))

    def keys(self, folder: Path, server: str = "c1s1") -> KeyFiles:
        """The files of a server in `folder`, made if they are not there."""
        keys = KeyFiles(folder / CERTIFICATE, folder / KEY)
        if not keys.key.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self.write(folder, Board(server, Location("1", "1"), "rp", server=True))
        return keys

    def server_side(self, server: Credentials | None = None) -> ssl.SSLContext:
        """TLS of a server of this cluster, for servers that a test makes of sockets."""
        shown = server or self.server("c1s1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            keys = KeyFiles(Path(folder) / CERTIFICATE, Path(folder) / KEY)
            keys.certificate.write_bytes(b"".join(map(certificate_pem, shown.chain)))
            write_private(keys.key, key_pem(shown.key))
            context.load_cert_chain(keys.certificate, keys.key)
        return context

    def publication(self, known: SignedMetadata, target: Target, length: int) -> Publication:
        """The version as the operator signs it on top of what the cluster has signed."""
        roles = SignedRoles.of(known.roots, known.roles)
        return publication(roles, self.operator, target, length, time.time(), revive=True)

    def with_version(self, signed: SignedRoles, target: Target, length: int = 1) -> SignedRoles:
        """`signed` with a version that the operator signs on top of it."""
        made = publication(signed, self.operator, target, length, time.time(), revive=True)
        signed = signed.with_targets(made.targets) if made.targets else signed
        path = version_path(target)
        return signed.with_software(target.group, made.software, path) if made.software else signed

    @property
    def operator(self) -> SigningKey:
        """The operator's key for targets."""
        return signer_of(self._targets)

    @property
    def root_signer(self) -> SigningKey:
        return signer_of(self._root)

    def begin(self, kv: KV) -> None:
        """What the first active of a cluster signs."""
        first = self.signing().renewal(kv, Plan)
        assert first is not None
        kv.commit(first)

    def write_operator(self, folder: Path) -> None:
        """What an operator proves himself and signs software with."""
        who = self.person(Role.ADMIN)
        (folder / CERTIFICATE).write_bytes(certificate_pem(who.certificate))
        write_private(folder / KEY, key_pem(who.key))
        (folder / "keys").mkdir(parents=True)
        write_private(folder / "keys" / "targets.pem", key_pem(self._targets))
        (folder / "trust").mkdir()
        (folder / "trust" / AUTHORITY).write_bytes(certificate_pem(self.issuer.certificate))
        (folder / "trust" / ROOT_FILE).write_bytes(self.root)

    def over(self, kv: KV, encoded: bytes) -> Publication:
        """The version of this manifest, signed on top of what the state has."""
        signed = read_signed(kv).signed
        signed = signed if signed.roots else self.first
        manifest = decode_manifest(encoded)
        target = Target(manifest.group, manifest.version, manifest.variant, digest_of(encoded))
        return publication(signed, self.operator, target, len(encoded), time.time(), revive=True)

    def signing(self) -> Signing:
        """What an active of this cluster signs with."""
        return Signing(OnlineKey(self.signer, self.first), Clocks("c1s1", time.time, time.monotonic))

    @property
    def signer(self) -> SigningKey:
        """The online key of every server."""
        return signer_of(self.online)

    @property
    def first(self) -> SignedRoles:
        """What a cluster begins with."""
        return SignedRoles().with_root(self.root).with_targets(self.targets)

    def _made(self, subject: str, role: Role, location: Location) -> Credentials:
        key = new_key()
        return Credentials((self.issuer.issue(subject, role, location, key.public_key()),), key, self.authority)
