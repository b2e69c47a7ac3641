"""Watching etcd: changes after a revision, in order, without gaps, whatever happens to its members.

Rules:

* A stream of etcd's is opened at the last revision that the caller has, at the best endpoint, and what comes of that
  revision is dropped. When it breaks, it is opened anew at the next one, so nothing is lost and nothing comes twice.
  The revision after would not do: if etcd compacted up to exactly that one, older releases lose a deletion in it.
* A stream that delivered is kept, with the revision up to which it did, for the call that goes on from there. One
  that was silent for ``SILENT_SECONDS`` is not: its member may hang, so the next endpoint is asked.
  After a failure the best one is asked again.
* etcd says ``created`` with its revision when a stream begins. If the caller is behind that, something may be due, and
  etcd takes up to a tenth of a second to find it: so long is waited even by a caller without time. A change takes a
  moment to come to a stream that is kept, too.
* A caller ahead of the whole cluster (it was restored) gets CompactedError; one ahead of a lagging member waits.
* A member that has lost its leader ends the stream (``hasleader``), instead of being silent for ever.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import msgspec
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.response import BaseHTTPResponse

from boardwright.errors import MalformedError
from boardwright.model.endpoints import Endpoint, write_endpoint
from boardwright.state.etcd_client import (
    CLOSED,
    ENDPOINT_SECONDS,
    MAX_FAILURE,
    MAX_REPLY,
    EndpointError,
    EtcdClient,
    TokenError,
    failure_of,
    no_endpoint,
    raise_failure,
)
from boardwright.state.etcd_messages import WATCH, Event, Failure, Streamed, WatchReply, read_reply, watch_of
from boardwright.state.kv import CompactedError, EngineError

SILENT_SECONDS = 2.0  # a lease is renewed twice a second, so silence is rare where anybody is active
CATCH_UP_SECONDS = 0.3  # three of etcd's rounds for watchers that begin in the past
ARRIVAL_SECONDS = 0.05  # from a commit to the streams of another member: two of the network's ways and some work
KEPT = 4  # streams that wait for their caller: the mirror, the lease, and some to spare
READ_BYTES = 64 * 1024


class _Stream:
    """One answer without an end, message by message; `due`: until when (monotonic) the past may still come."""

    def __init__(self, endpoint: Endpoint, connection: HTTPConnection, response: BaseHTTPResponse) -> None:
        self.endpoint = endpoint
        self.due = 0.0
        self._connection = connection
        self._socket: socket.socket | None = connection.sock
        self._response = response
        self._buffer = bytearray()

    def events(self, after: int, until: float) -> tuple[Event, ...]:
        """Those of the next revisions after `after`; () at `until`, and then the stream is of no more use."""
        found: list[Event] = []
        size = 0
        while reply := self.reply(until):
            found += [event for event in reply.events if event.kv.mod_revision > after]
            if found and not reply.fragment:
                return tuple(found)
            size += sum(len(event.kv.value) for event in reply.events)
            if size > MAX_REPLY:
                raise CompactedError(f"the changes after revision {after} are more than {MAX_REPLY} bytes")
            if found:
                until = max(until, time.monotonic() + ENDPOINT_SECONDS)  # the rest of a revision is on its way
        return ()

    def reply(self, until: float) -> WatchReply | None:
        """The next message, None at `until` (monotonic). EndpointError, CompactedError, EngineError, TokenError."""
        line = self._line(until)
        if line is None:
            return None
        try:
            streamed = read_reply(line, Streamed)
        except MalformedError as error:
            raise EndpointError(str(error), sent=True) from error
        if streamed.error is not None:
            raise_failure(streamed.error)
        reply = streamed.result or WatchReply()
        if reply.compact_revision:
            raise CompactedError(f"etcd knows only the changes since revision {reply.compact_revision}")
        if reply.canceled:
            raise_failure(Failure(reply.cancel_reason, _code_in(reply.cancel_reason)))
        return reply

    def shut(self) -> None:
        """Wake whoever reads; from any thread."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it was shut already
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # past TLS, whose state is the reader's

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def _line(self, until: float) -> bytes | None:
        looked = 0
        while (end := self._buffer.find(b"\n", looked)) < 0:
            looked = len(self._buffer)
            if looked > MAX_REPLY:
                raise EndpointError(f"sends a change of more than {MAX_REPLY} bytes", sent=True)
            left = until - time.monotonic()
            if left <= 0:
                return None
            data = self._read(left)
            if data is None:
                return None
            if not data:
                raise EndpointError("ended the stream of changes", sent=True)
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _read(self, seconds: float) -> bytes | None:
        """What is there, None after `seconds`."""
        try:
            if self._socket is not None:
                self._socket.settimeout(seconds)
            return self._response.read1(READ_BYTES)
        except (ReadTimeoutError, TimeoutError):
            return None
        except (HTTPError, OSError) as error:
            raise failure_of(error) from error


class Watcher:
    """The streams of one KV; `revision` asks the quorum for the cluster's revision."""

    def __init__(self, client: EtcdClient, revision: Callable[[], int]) -> None:
        self._client = client
        self._revision = revision
        self._lock = threading.Lock()
        self._open: set[_Stream] = set()
        self._kept: dict[tuple[bytes, int], _Stream] = {}
        self._turn = 0
        self._closed = False

    @property
    def streams(self) -> int:
        """How many are open, in use or kept."""
        return len(self._open)

    def watch(self, key: bytes, end: bytes, after: int, timeout: float) -> tuple[Event, ...]:
        """The events after revision `after` in [key, end), () if none came in time. CompactedError, EngineError."""
        deadline = time.monotonic() + timeout
        reasons: list[str] = []
        while True:
            try:
                events = self._once(key, end, after, deadline)
            except EndpointError as error:
                reasons.append(str(error))
                if len(reasons) > len(self._client.order()):
                    raise no_endpoint(reasons[1:]) from error
                continue
            if events or time.monotonic() >= deadline:
                return events

    def close(self) -> None:
        """Every watch, now and later, is EngineError."""
        with self._lock:
            self._closed = True
            kept, self._kept = list(self._kept.values()), {}
            reading = self._open.difference(kept)
        for stream in reading:
            stream.shut()
        for stream in kept:
            stream.close()

    def _once(self, key: bytes, end: bytes, after: int, deadline: float) -> tuple[Event, ...]:
        """What one stream brings before it was silent for too long; EndpointError names the endpoint."""
        with self._lock:
            self._check_open()
            stream = self._kept.pop((key, after), None)
        began = time.monotonic()
        endpoint = stream.endpoint if stream else self._endpoint()
        try:
            if stream is None:
                stream = self._begin(endpoint, key, end, after)
            else:
                stream.due = began + ARRIVAL_SECONDS
            events = stream.events(after, max(stream.due, min(deadline, began + SILENT_SECONDS)))
        except (EndpointError, TokenError) as error:
            self._drop(stream)
            with self._lock:
                self._check_open()
            if isinstance(error, TokenError):
                self._client.forget_token()
            else:
                self._client.failed(endpoint)
                self._turn = 0  # or the last of the list, once its turn has come, would be asked again and again
            raise EndpointError(f"{write_endpoint(endpoint)} {error}", sent=True) from error
        except BaseException:
            self._drop(stream)
            raise
        if events:
            self._keep(stream, key, events[-1].kv.mod_revision)
        else:
            self._drop(stream)
            self._turn += time.monotonic() - began > ENDPOINT_SECONDS
        return events

    def _endpoint(self) -> Endpoint:
        """The best one; after silence the next, in case it hangs."""
        order = self._client.order()
        return order[self._turn % len(order)]

    def _begin(self, endpoint: Endpoint, key: bytes, end: bytes, after: int) -> _Stream:
        connection = self._client.connect(endpoint)
        try:
            connection.request(
                "POST",
                WATCH,
                body=msgspec.json.encode(watch_of(key, end, max(after, 1))),
                headers={**self._client.headers(), "Grpc-Metadata-hasleader": "true"},
                preload_content=False,
            )
            response = connection.getresponse()
            if response.status != 200:
                raise_failure(read_reply(response.read(MAX_FAILURE), Failure))
            stream = _Stream(endpoint, connection, response)
            created = stream.reply(time.monotonic() + ENDPOINT_SECONDS)
            if created is None:
                raise EndpointError("begins no stream of changes in time", sent=True)
            self._client.check_cluster(created.header.cluster_id)
            if created.header.revision < after and self._revision() < after:
                raise CompactedError(f"etcd is not yet at revision {after}: it was restored")
        except MalformedError as error:
            connection.close()
            raise EndpointError(str(error), sent=True) from error
        except (HTTPError, OSError) as error:
            connection.close()
            raise failure_of(error) from error
        except BaseException:
            connection.close()
            raise
        if created.header.revision > after:
            stream.due = time.monotonic() + CATCH_UP_SECONDS
        with self._lock:
            self._open.add(stream)
            if self._closed:
                stream.shut()
        return stream

    def _keep(self, stream: _Stream, key: bytes, revision: int) -> None:
        with self._lock:
            other = self._kept.pop((key, revision), None)
            self._kept[key, revision] = stream
            over = [self._kept.pop(next(iter(self._kept)))] if len(self._kept) > KEPT or self._closed else []
        for dropped in (other, *over):
            self._drop(dropped)

    def _drop(self, stream: _Stream | None) -> None:
        if stream is not None:
            with self._lock:
                self._open.discard(stream)
            stream.close()

    def _check_open(self) -> None:
        if self._closed:
            raise EngineError(CLOSED)


def _code_in(reason: str) -> int:
    """gRPC's code of a stream that etcd refused; it says it in words."""
    if "permission denied" in reason:
        return 7
    return 16 if "token" in reason else 14
