"""The door of a cluster at one server: what admits, with what it admits by."""

import time

from boardwright.config import ServerSettings
from boardwright.model.admission import ClusterAuthority
from boardwright.server.admission import Admission, Gatekeeper
from boardwright.server.admission_records import Records
from boardwright.server.join_tokens import JoinTokens
from boardwright.server.mirror import Mirror
from boardwright.server.slots import Slots
from boardwright.trust.credentials import Credentials
from boardwright.trust.enroller import load_enroller
from boardwright.trust.names import TARGETS
from boardwright.trust.online import SignedRoles


class Door:
    """`first` is what the cluster's metadata begins with."""

    def __init__(
        self,
        settings: ServerSettings,
        credentials: Credentials,
        first: SignedRoles,
        records: Records,
        mirror: Mirror,
        slots: Slots,
    ) -> None:
        """Raises UsageError if the enroller's files beside the server's certificate are damaged or not its own."""
        cluster = settings.cluster
        enroller = load_enroller(cluster.certificate.parent, credentials.authority, cluster.name, settings.id)
        gatekeeper = Gatekeeper(cluster.name, credentials.authority, enroller, slots.revoked)
        self.authority = ClusterAuthority(
            cluster.name, credentials.authority.certificate, first.roots[0], first.roles[TARGETS]
        )
        self.tokens = JoinTokens(records, time.time)
        self.admission = Admission(records, mirror, slots, gatekeeper, time.time, time.monotonic)
