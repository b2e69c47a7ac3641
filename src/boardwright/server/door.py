"""The door of a cluster at one server: what admits, with what it admits by."""

import time
from collections.abc import Callable

from boardwright.config import ServerSettings
from boardwright.model.admission import ClusterAuthority
from boardwright.server.admission import Admission, Gatekeeper
from boardwright.server.admission_records import Records
from boardwright.server.join_tokens import JoinTokens
from boardwright.server.mirror import Mirror
from boardwright.server.slots import NOBODY, Slots
from boardwright.state.kv import KV, Transaction
from boardwright.trust.credentials import Credentials
from boardwright.trust.enroller import load_enroller
from boardwright.trust.joining import read_first_root


class Door:
    """`commit` is fenced by the lease, `revoked` answers the digests of revoked keys."""

    def __init__(
        self,
        settings: ServerSettings,
        credentials: Credentials,
        kv: KV,
        commit: Callable[[Transaction], int],
        mirror: Mirror,
        slots: Slots,
        revoked: Callable[[], frozenset[str]] = lambda: NOBODY,
    ) -> None:
        """Raises UsageError if the enroller's files beside the server's certificate are damaged or not its own."""
        cluster = settings.cluster
        enroller = load_enroller(cluster.certificate.parent, credentials.authority, cluster.name, settings.id)
        records = Records(kv, commit, mirror)
        gatekeeper = Gatekeeper(cluster.name, credentials.authority, enroller, revoked)
        root = read_first_root(cluster.trust)
        self.authority = ClusterAuthority(cluster.name, credentials.authority.certificate, root)
        self.tokens = JoinTokens(records, time.time)
        self.admission = Admission(records, mirror, slots, gatekeeper, time.time, time.monotonic)
