"""Lines to the servers of a cluster: TLS 1.3, and at the other end a server whom the authority knows.

Rules:

* Everything after discovery goes over these lines. There is no other way to talk to a server, and no switch.
* The other end's certificate must be signed by the cluster's authority, say that it is a server's, and bear a key that
  is not revoked, also by the time of a later request on the same line. Names of hosts are nothing: a certificate says
  who somebody is, not at which address.
* No clock is needed: the dates of certificates are not looked at (see ``identity``).
* With a deadline, an answer takes so many seconds from its request to its last byte, whatever the other end does.
"""

import errno
import ssl
import time
from collections.abc import Callable
from typing import Any

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import LocationValueError

from boardwright.trust.credentials import Credentials
from boardwright.trust.deadline import DeadlineSocket
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Authority, Identity, Role

NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python has no name for


def nobody() -> frozenset[str]:
    """The keys that are revoked where nobody is."""
    return frozenset()


class Lines:
    """Lines to servers of `authority`, of who bears `credentials`; `revoked` answers which keys (hex) are. Thread-safe.

    Who joins has no credentials yet, and before it has seen the authority that its token names, not even that: then
    anybody may be at the other end, and nothing may be said that not everybody may hear.
    """

    def __init__(
        self,
        authority: Authority | None,
        credentials: Credentials | None = None,
        revoked: Callable[[], frozenset[str]] = nobody,
    ) -> None:
        self._credentials = credentials
        self._authority = authority
        self._revoked = revoked
        self._plain = client_context(authority)
        self._timed = client_context(authority)
        self._timed.sslsocket_class = DeadlineSocket

    @property
    def name(self) -> str:
        """The id of whose lines these are, '' for a stranger."""
        return "" if self._credentials is None else self._credentials.identity.id

    def manager(self, seconds: float | None = None, **options: Any) -> urllib3.PoolManager:
        """Pools for any server; an answer takes `seconds` at most, if that is said. Knows no scheme but https."""
        kind = self._pool_class(seconds)
        manager = urllib3.PoolManager(**self._secured(seconds), **options)
        manager.pool_classes_by_scheme = {"https": kind}
        manager.key_fn_by_scheme = {"https": manager.key_fn_by_scheme["https"]}  # others are unknown schemes
        return manager

    def pool(self, url: str, **options: Any) -> urllib3.HTTPSConnectionPool:
        """The pool for the server at `url`; raises LocationValueError for a URL that is not https."""
        parts = urllib3.util.parse_url(url)
        if parts.scheme != "https" or not parts.host:
            raise LocationValueError(f"{url[:200]!r} is no https URL")
        return self._pool_class(None)(parts.host, parts.port, **self._secured(None), **options)

    def server(self, certificate: bytes) -> Identity | None:
        """Who the server is that showed `certificate` (DER), None if nobody knows yet; raises UntrustedError."""
        if self._authority is None:
            return None
        found = self._authority.verify(certificate, revoked=self._revoked()).identity
        if found.role is not Role.SERVER:
            raise UntrustedError(f"{found.id} answers as a server and is none ({found.role.value})")
        return found

    def _secured(self, seconds: float | None) -> dict[str, Any]:
        return {"ssl_context": self._plain if seconds is None else self._timed, "assert_hostname": False}

    def _pool_class(self, seconds: float | None) -> type[urllib3.HTTPSConnectionPool]:
        limit = float("inf") if seconds is None else seconds
        connection = type("_Line", (_Line,), {"lines": self, "seconds": limit})
        return type("_Pool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": connection})


class _Line(HTTPSConnection):
    lines: Lines
    seconds: float
    certificate = b""

    def connect(self) -> None:
        """Raises UntrustedError beside what urllib3 raises."""
        try:
            super().connect()
            self.certificate = self.sock.getpeercert(binary_form=True) or b""  # type: ignore[union-attr]  # connected
            self.lines.server(self.certificate)
            self.is_verified = True  # by that; who joins knows better only by what comes, and urllib3 need not warn him
        except (ssl.SSLCertVerificationError, UntrustedError) as error:
            self.close()
            raise UntrustedError(f"who answers at {self.host} port {self.port} is no server of this cluster") from error

    def request(self, *arguments: Any, **options: Any) -> None:
        if self.certificate and not self.is_closed:
            self.lines.server(self.certificate)  # it may have been revoked since the last request
        super().request(*arguments, **options)
        if isinstance(self.sock, DeadlineSocket):
            self.sock.deadline = time.monotonic() + self.seconds

    def send(self, data: Any) -> None:
        try:
            super().send(data)
        except ssl.SSLEOFError as error:
            # Without TLS it would be this one, and urllib3 then reads what the server had to say before it hung up.
            raise BrokenPipeError(errno.EPIPE, "the server hung up") from error


def lines_of(credentials: Credentials, revoked: Callable[[], frozenset[str]] = nobody) -> Lines:
    """The lines of a member of a cluster to its servers."""
    return Lines(credentials.authority, credentials, revoked)


def client_context(authority: Authority | None) -> ssl.SSLContext:
    """TLS 1.3 with whoever shows a certificate of `authority` (None: any), at any time and any address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_flags |= NO_CHECK_TIME
    if authority is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=authority.certificate)
    context.set_alpn_protocols(["http/1.1"])
    return context
