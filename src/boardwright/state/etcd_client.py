"""Calls to an etcd cluster through its JSON gateway: several endpoints, TLS, authentication.

Rules:

* Endpoints are asked in order, beginning with the last one that answered; one that fails goes to the end of the list.
  It costs ``ENDPOINT_SECONDS`` at most, to connect and again to answer (for large bodies as much longer as they need).
* What only reads goes on to the next endpoint after any failure. What writes does so only if the endpoint certainly
  never got it (no connection); any other failure leaves open whether it took effect, and is EngineError at once.
* An answer that would be the same everywhere (no permission, database full, too large) is EngineError at once.
* A token that etcd no longer knows (it restarted, or the token aged) is replaced once per call.
* All endpoints are one etcd cluster: the first answer says which, and an endpoint of another one is not believed. Who
  restores etcd from a snapshot gets another cluster and restarts the servers; revisions of the two do not compare.
* An answer is at most ``MAX_REPLY`` bytes.
"""

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

from boardwright.errors import MalformedError, UsageError
from boardwright.model.endpoints import Endpoint, write_endpoint
from boardwright.state.etcd_messages import AUTHENTICATE, AnyReply, Failure, Message, TokenReply, read_reply
from boardwright.state.kv import CompactedError, EngineError

CLOSED = "the state is closed"
ENDPOINT_SECONDS = 0.5  # six of these fit into the life of a lease; etcd's own heartbeat is a tenth of a second
BYTES_PER_SECOND = 4 * 1024 * 1024  # what a slow disk under three members writes; large bodies get that much more time
MAX_REPLY = 64 * 1024 * 1024  # four of the largest values with what base64 adds
MAX_FAILURE = 64 * 1024  # a reply that is an error is a sentence
MAX_SENTENCE = 300  # characters of what etcd says about a failure
MAX_PASSWORD = 1024  # bytes of the password's file
CONNECTIONS = 4  # kept per endpoint: the role, the mirror's reading, a request or two

# gRPC's codes (google.rpc.Code) that no other endpoint would answer differently, and that say that nothing was done.
_FINAL = frozenset({3, 7, 8, 9})  # invalid argument, permission denied, resource exhausted, failed precondition
_HINTS = {
    7: "give etcd's user readwrite on the keys below boardwright/CLUSTER/",
    8: "if its database is full: compact, defragment, and disarm the alarm (etcdctl), and set its auto-compaction",
}
_UNAUTHENTICATED = 16
_OUT_OF_RANGE = 11
_STALE_TOKEN = "revision of auth store is old"  # noqa: S105  # etcd's words for a token from before a change of users
_TLS_HINT = "ca, certificate and key of [state] are PEM files, readable for the server"


class EtcdAccess(msgspec.Struct, frozen=True, kw_only=True):
    """What TLS (`ca`, and `certificate` with `key` if etcd asks for them) and authentication need; none: neither."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    user: str = ""
    password_file: Path | None = None


class EndpointError(Exception):
    """This endpoint failed, another one may not; `sent`: it may have got the call."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class TokenError(Exception):
    """etcd does not know the token any more; nothing was done."""


class EtcdClient:
    """Raises UsageError for files that cannot be used; connects when the first call comes."""

    def __init__(self, endpoints: tuple[Endpoint, ...], access: EtcdAccess) -> None:
        self._tls = _tls(access)
        self._user = access.user
        self._password = _password(access.password_file)
        self._pools = {endpoint: self._pool(endpoint) for endpoint in endpoints}
        self._order = list(self._pools)
        self._lock = threading.Lock()
        self._token = ""
        self._cluster = ""

    def read(self, path: str, message: Message, kind: type[AnyReply]) -> AnyReply:
        """A call that changes nothing; CompactedError, or EngineError that says of each endpoint what it did."""
        body = msgspec.json.encode(message)
        return self._each(lambda endpoint: self._call(endpoint, path, body, kind), repeat=True)

    def write(self, path: str, message: Message, kind: type[AnyReply]) -> AnyReply:
        """A call that changes something; EngineError if it failed or if nobody knows whether it took effect."""
        body = msgspec.json.encode(message)
        return self._each(lambda endpoint: self._call(endpoint, path, body, kind), repeat=False)

    def connect(self, endpoint: Endpoint) -> HTTPConnection:
        """A connection of the caller's own, for a stream; not yet connected."""
        host, port = endpoint
        if self._tls is None:
            return HTTPConnection(host, port, timeout=ENDPOINT_SECONDS)
        return HTTPSConnection(host, port, timeout=ENDPOINT_SECONDS, ssl_context=self._tls)

    def order(self) -> tuple[Endpoint, ...]:
        """The endpoints, best first."""
        with self._lock:
            return tuple(self._order)

    def failed(self, endpoint: Endpoint) -> None:
        """The others come first from now on."""
        with self._lock:
            self._order.remove(endpoint)
            self._order.append(endpoint)

    def headers(self) -> dict[str, str]:
        """With a token if there is a user; raises what a call does."""
        if not self._user:
            return {"Content-Type": "application/json"}
        with self._lock:
            token = self._token
        if not token:
            login = {"name": self._user, "password": self._password}
            body = msgspec.json.encode(login)
            reply = self._each(lambda endpoint: self._post(endpoint, AUTHENTICATE, body, {}, TokenReply), repeat=True)
            token = reply.token
            with self._lock:
                self._token = token
        return {"Content-Type": "application/json", "Authorization": token}

    def forget_token(self) -> None:
        with self._lock:
            self._token = ""

    def check_cluster(self, cluster: str) -> None:
        """Remember the cluster that answered first; MalformedError for any other."""
        with self._lock:
            self._cluster = self._cluster or cluster
            if cluster != self._cluster:
                raise MalformedError("is of another etcd cluster than the one that this program began with")

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()

    def _each(self, call: Callable[[Endpoint], AnyReply], *, repeat: bool) -> AnyReply:
        """What the first endpoint answers that can; `repeat`: even if one before may have done it."""
        reasons = []
        for endpoint in self.order():
            try:
                return call(endpoint)
            except EndpointError as error:
                self.failed(endpoint)
                reasons.append(f"{write_endpoint(endpoint)} {error}")
                if error.sent and not repeat:
                    raise EngineError(
                        f"nobody knows whether the change was made: etcd's endpoint {reasons[-1]}"
                    ) from error
        raise no_endpoint(reasons)

    def _call(self, endpoint: Endpoint, path: str, body: bytes, kind: type[AnyReply]) -> AnyReply:
        try:
            return self._post(endpoint, path, body, self.headers(), kind)
        except TokenError:
            self.forget_token()
        try:
            return self._post(endpoint, path, body, self.headers(), kind)
        except TokenError as error:
            raise EngineError("etcd does not take the token that it has just given") from error

    def _post(
        self, endpoint: Endpoint, path: str, body: bytes, headers: dict[str, str], kind: type[AnyReply]
    ) -> AnyReply:
        patience = ENDPOINT_SECONDS + len(body) / BYTES_PER_SECOND
        try:
            response = self._pools[endpoint].urlopen(
                "POST",
                path,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=ENDPOINT_SECONDS, read=patience),
            )
            with response:
                data = response.read(MAX_REPLY + 1 if response.status == 200 else MAX_FAILURE)
        except (HTTPError, OSError) as error:
            raise failure_of(error) from error
        if len(data) > MAX_REPLY:
            raise EngineError(f"etcd's endpoint {write_endpoint(endpoint)} answers more than {MAX_REPLY} bytes")
        try:
            if response.status != 200:
                raise_failure(read_reply(data, Failure))
            reply = read_reply(data, kind)
            self.check_cluster(reply.header.cluster_id)
            return reply
        except MalformedError as error:
            raise EndpointError(str(error), sent=True) from error

    def _pool(self, endpoint: Endpoint) -> urllib3.HTTPConnectionPool:
        host, port = endpoint
        if self._tls is None:
            return urllib3.HTTPConnectionPool(host, port, maxsize=CONNECTIONS)
        return urllib3.HTTPSConnectionPool(host, port, maxsize=CONNECTIONS, ssl_context=self._tls)


def no_endpoint(reasons: list[str]) -> EngineError:
    """Nobody could answer, with what each did."""
    return EngineError(
        f"etcd does not answer: {'; '.join(reasons)}",
        hint="changes wait until most members of etcd run and reach each other; what is committed is served meanwhile",
    )


def failure_of(error: Exception) -> EndpointError:
    """What a connection's failure says about its endpoint."""
    if isinstance(error, NewConnectionError):
        cause = error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else "no connection"
        return EndpointError(f"cannot be reached ({reason})", sent=False)
    if isinstance(error, ConnectTimeoutError):
        return EndpointError(f"cannot be reached within {ENDPOINT_SECONDS} s", sent=False)
    if isinstance(error, ReadTimeoutError | TimeoutError):
        return EndpointError("gives no answer in time (it hangs, or most other members are down)", sent=True)
    if isinstance(error, SSLError | ssl.SSLError):
        return EndpointError(f"is not to be trusted, or does not trust us ({_short(str(error))})", sent=True)
    return EndpointError("broke the connection off", sent=True)


def raise_failure(failure: Failure) -> NoReturn:
    """Raise what an error of etcd's means: CompactedError, EngineError, TokenError or EndpointError."""
    said = _short(failure.message) or "an error without words"
    if failure.code == _UNAUTHENTICATED or _STALE_TOKEN in failure.message:
        raise TokenError(said)
    if failure.code == _OUT_OF_RANGE and "compacted" in failure.message:
        raise CompactedError(f"etcd does not know these revisions any more: {said}")
    if failure.code in _FINAL:
        raise EngineError(f"etcd refuses the call: {said}", hint=_HINTS.get(failure.code))
    raise EndpointError(f"says: {said}", sent=True)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_SENTENCE else f"{text[:MAX_SENTENCE]}..."


def _tls(access: EtcdAccess) -> ssl.SSLContext | None:
    """TLS 1.2 and later, because etcd 3.4 of older Go has no 1.3; the certificate's names are checked."""
    if access.ca is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(access.ca))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{access.ca}: no certificates of an authority can be read", hint=_TLS_HINT) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.certificate is not None:
        try:
            context.load_cert_chain(access.certificate, access.key)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"{access.certificate}: cannot be used as a certificate with the key {access.key}", hint=_TLS_HINT
            ) from error
    return context


def _password(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            password = file.read(MAX_PASSWORD + 1).removesuffix(b"\n").decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: no password can be read", hint="one line of text, readable for the server"
        ) from error
    if not 1 <= len(password.encode()) <= MAX_PASSWORD or "\n" in password:
        raise UsageError(
            f"{path}: is not one line of 1 to {MAX_PASSWORD} bytes", hint="write the password and nothing else"
        )
    return password
