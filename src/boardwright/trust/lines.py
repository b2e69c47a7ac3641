"""Lines to the servers of a cluster: TLS 1.3, and at the other end a server whom the authority knows.

Rules:

* Everything after discovery goes over these lines. There is no other way to talk to a server, and no switch.
* The other end's certificate must be signed by the cluster's authority, say that it is a server's, and bear a key that
  is not revoked, also by the time of a later request on the same line. Names of hosts are nothing: a certificate says
  who somebody is, not at which address.
* Who has credentials proves itself on each server that it talks to (``sessions``), before the first question and when
  the token is over or the server was restarted; the token goes to that server only, whoever says otherwise.
* No clock is needed: the dates of certificates are not looked at (see ``identity``).
* With a deadline, an answer takes so many seconds from its request to its last byte, whatever the other end does.
"""

import errno
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import LocationValueError, ProtocolError

from boardwright.errors import RefusedError
from boardwright.model.sessions import NONCE_PATH, SCHEME, SESSION_PATH, Nonce, Proof, Token
from boardwright.trust.credentials import Credentials
from boardwright.trust.deadline import DeadlineSocket
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Authority, Identity, Role
from boardwright.trust.sessions import proof

Content = TypeVar("Content")
RENEW = 0.8  # of a token's life; then a new one, so that hardly any call is answered 401
SESSION_PAUSE = 2.0  # seconds without a byte, as for everything that is answered from memory
MAX_SESSION_ANSWER = 16 * 1024  # bytes; a token has less than three thousand
MAX_SAID = 500  # characters of a server's sentence
ENDED, UNPROVEN, FORBIDDEN = 200, 401, 403
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
        self._tokens: dict[str, tuple[str, float]] = {}  # by server: the token, and when a new one is due
        self._plain = client_context(authority)
        self._timed = client_context(authority)
        self._timed.sslsocket_class = DeadlineSocket

    def manager(self, seconds: float | None = None, **options: Any) -> urllib3.PoolManager:
        """Pools for any server; an answer takes `seconds` at most, if that is said. Knows no scheme but https."""
        kind = type("_Pool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": self._connection(seconds)})
        manager = urllib3.PoolManager(**self._secured(seconds), **options)
        manager.pool_classes_by_scheme = {"https": kind}
        manager.key_fn_by_scheme = {"https": manager.key_fn_by_scheme["https"]}  # others are unknown schemes
        return manager

    def line(self, url: str, seconds: float) -> "_Line":
        """One connection to the server at `url`, which is to accept it in so many seconds; it is not made yet.

        Raises LocationValueError for a URL that is not https.
        """
        parts = urllib3.util.parse_url(url)
        if parts.scheme != "https" or not parts.host:
            raise LocationValueError(f"{url[:200]!r} is no https URL")
        host = parts.host.removeprefix("[").removesuffix("]")
        return self._connection(None)(host, parts.port, timeout=seconds, **self._secured(None))

    def enroller(self, line: ssl.SSLSocket) -> bytes:
        """The certificate of who let in the other end of `line`, as far as that can be; servers are certified alone."""
        del line
        return b""

    def server(self, certificate: bytes, enroller: bytes = b"") -> Identity | None:
        """Who the server is that showed `certificate` (DER), None if nobody knows yet; raises UntrustedError."""
        del enroller
        if self._authority is None:
            return None
        found = self._of_the_cluster(certificate)
        if found.role is not Role.SERVER:
            raise UntrustedError(f"{found.id} answers as a server and is none ({found.role.value})")
        return found

    def _of_the_cluster(self, certificate: bytes, enroller: bytes = b"") -> Identity:
        """Whose certificate it is; raises UntrustedError."""
        if self._authority is None:
            raise UntrustedError("who joins knows nobody yet")
        return self._authority.verify(certificate, enroller, self._revoked()).identity

    @property
    def has_name(self) -> bool:
        """Whether these are a member's lines, who proves itself."""
        return self._credentials is not None

    def token(self, server: str) -> str:
        """What is good at this server now, '' if nothing is."""
        token, until = self._tokens.get(server, ("", 0.0))
        return token if time.monotonic() < until else ""

    def keep(self, server: str, token: Token) -> None:
        """What this server gave."""
        self._tokens[server] = (token.token, time.monotonic() + RENEW * token.seconds)

    def forget(self, server: str, token: str) -> None:
        """This server does not take the token (any more)."""
        if self._tokens.get(server, ("", 0.0))[0] == token:
            self._tokens.pop(server, None)

    def proof(self, server: str, nonce: bytes) -> Proof:
        """What proves to this server whose lines these are."""
        if self._credentials is None:
            raise UntrustedError("a stranger has nothing to prove itself with")
        return Proof(self._credentials.chain, nonce, proof(server, nonce, self._credentials.key))

    def _secured(self, seconds: float | None) -> dict[str, Any]:
        return {"ssl_context": self._plain if seconds is None else self._timed, "assert_hostname": False}

    def _connection(self, seconds: float | None) -> "type[_Line]":
        limit = float("inf") if seconds is None else seconds
        return type("_Line", (_Line,), {"lines": self, "seconds": limit})


class _Said(msgspec.Struct, frozen=True):
    error: str


class _Line(HTTPSConnection):
    lines: Lines
    seconds: float
    certificate = b""
    enroller = b""
    server = ""  # the id of who is at the other end
    _proving = False
    _token = ""  # that the request bears
    _again: tuple[tuple[Any, ...], dict[str, Any]] | None = None  # the last request, if it can be sent again

    def connect(self) -> None:
        """Raises UntrustedError beside what urllib3 raises."""
        try:
            super().connect()
            self.certificate = self.sock.getpeercert(binary_form=True) or b""  # type: ignore[union-attr]  # connected
            self.enroller = self.lines.enroller(self.sock)  # type: ignore[arg-type]  # all lines are TLS
            found = self.lines.server(self.certificate, self.enroller)
            self.server = found.id if found is not None else ""
            self.is_verified = True  # by that; who joins knows better only by what comes, and urllib3 need not warn him
        except (ssl.SSLCertVerificationError, UntrustedError) as error:
            self.close()
            raise UntrustedError(f"who answers at {self.host} port {self.port} is no server of this cluster") from error

    def request(self, *arguments: Any, **options: Any) -> None:
        """Raises UntrustedError, RefusedError if the server does not let these lines' owner in."""
        if not self._proving:
            self.ready()
            self._again = (arguments, options) if isinstance(options.get("body"), bytes | None) else None
        super().request(*arguments, **options)

    def ready(self) -> ssl.SSLSocket:
        """The line to a server that may be asked now, with a token if it needs one; raises as ``request``."""
        if self.is_closed:
            self.connect()
        else:
            self.lines.server(self.certificate, self.enroller)  # it may have been revoked since the last request
        if isinstance(self.sock, DeadlineSocket):
            self.sock.deadline = time.monotonic() + self.seconds
        # Held from here on: another thread may drop it meanwhile, and a request without one would be refused for good.
        self._token = (self.lines.token(self.server) or self._prove()) if self.lines.has_name else ""
        return self.sock  # type: ignore[return-value]  # all lines are TLS

    @property
    def authorization(self) -> str:
        """The header of the next request, '' if it bears none."""
        return SCHEME + self._token if self._token and not self._proving else ""

    def renew(self) -> bool:
        """The server does not take the token (any more): get another one. False: there was none."""
        if not self._token or self._proving:
            return False
        self.lines.forget(self.server, self._token)
        # Not one that another thread got: it may be of the same server's other process, while that is replaced.
        self._token = self._prove()
        return True

    def putrequest(self, *arguments: Any, **options: Any) -> None:
        super().putrequest(*arguments, **options)
        if self.authorization:
            self.putheader("Authorization", self.authorization)

    def getresponse(self) -> Any:
        """The answer; a token that the server does not take (any more) is replaced once and the request sent again."""
        answer = super().getresponse()
        if answer.status != UNPROVEN or not self.authorization:
            return answer
        again, self._again = self._again, None
        if again is None:
            self.lines.forget(self.server, self._token)
            return answer
        self._drained(answer)
        self.renew()
        super().request(*again[0], **again[1])
        return super().getresponse()

    def _prove(self) -> str:
        """A new token of this server."""
        pause = self.sock.gettimeout() if self.sock is not None else None
        self._proving = True
        try:
            self._set_pause(SESSION_PAUSE)
            given = self._exchange("GET", NONCE_PATH, None, Nonce)
            body = msgspec.json.encode(self.lines.proof(self.server, given.nonce))
            token = self._exchange("POST", SESSION_PATH, body, Token)
            self.lines.keep(self.server, token)
        except BaseException:
            self.close()
            raise
        finally:
            self._proving = False
            self._set_pause(pause)
        return token.token

    def _exchange(self, method: str, path: str, body: bytes | None, content: type[Content]) -> Content:
        headers = {"User-Agent": "boardwright", "Content-Type": "application/json"}
        self.request(method, path, body=body, headers=headers, preload_content=False)
        answer = self.getresponse()
        data = self._drained(answer)
        try:
            if answer.status == ENDED:
                return msgspec.json.decode(data, type=content)
            said = msgspec.json.decode(data, type=_Said).error[:MAX_SAID]
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProtocolError(
                f"{self.server} answered {method} {path} with something else than documented"
            ) from error
        if answer.status in (UNPROVEN, FORBIDDEN):
            raise RefusedError(f"{self.server} does not let in who asks: {said}")
        raise ProtocolError(f"{self.server} answered {answer.status} to {method} {path}: {said}")

    def _drained(self, answer: Any) -> bytes:
        data: bytes = answer.read(MAX_SESSION_ANSWER)
        if answer.read(1):
            self.close()
            raise ProtocolError(f"{self.server} says more about sessions than {MAX_SESSION_ANSWER} bytes")
        return data

    def _set_pause(self, seconds: float | None) -> None:
        if self.sock is not None:
            self.sock.settimeout(seconds)

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
