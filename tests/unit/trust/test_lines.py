"""Lines: to servers of the own cluster and to nobody else, whatever the clock says; proven on each of them anew."""

import datetime as dt
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from urllib3.exceptions import HTTPError

from boardwright.errors import RefusedError
from boardwright.model.location import Location
from boardwright.model.sessions import SESSION_PATH, Token
from boardwright.server.callers import Callers
from boardwright.trust import issuing
from boardwright.trust.credentials import Credentials
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Role
from boardwright.trust.issuing import Issuer, new_key
from boardwright.trust.lines import Lines, lines_of
from tests.identities import Identities
from tests.tls import LAB, over_tls


class Shown(NamedTuple):
    """What somebody shows in TLS."""

    chain: tuple[bytes, ...]
    key: ec.EllipticCurvePrivateKey


class Host:
    """A server with the identity of the test's choice, whose calls want a session; `asked` are those that came.

    `shows` is what it shows in TLS instead of its own, `newest` the newest TLS that it speaks.
    """

    def __init__(
        self,
        identity: Credentials,
        identities: Identities = LAB,
        shows: Shown | None = None,
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        self.identities = identities
        self.identity = identity
        self.callers = identities.callers(identity)
        self.asked: list[tuple[str, str]] = []  # path, and the id of who asked
        self.headers: list[str] = []
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                session = host.callers.answer(self.command, self.path, body, "")
                host.headers.append(self.headers.get("Authorization", ""))
                try:
                    host.asked.append((self.path, "" if session else host.callers.client(host.headers[-1]).id))
                    status, data = session or (200, b"{}")
                except UntrustedError:
                    status, data = 401, b"{}"
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST  # noqa: N815 - the names that http.server looks for

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        context = identities.server_side(shows or identity)  # type: ignore[arg-type]
        context.maximum_version = newest
        self.url = over_tls(self.http, context)

    def restart(self) -> None:
        """What a restart does to sessions; the lines stay up."""
        self.callers = Callers(self.identity)

    def sessions(self) -> int:
        return sum(path == SESSION_PATH for path, _ in self.asked)


@contextmanager
def serving(*hosts: Host) -> Iterator[Host]:
    threads = [Thread(target=host.http.serve_forever, args=(0.01,)) for host in hosts]
    for thread in threads:
        thread.start()
    try:
        yield hosts[0]
    finally:
        for host, thread in zip(hosts, threads, strict=True):
            host.http.shutdown()
            thread.join()
            host.http.server_close()


def ask(lines: Lines, host: Host) -> int:
    return lines.manager(retries=False).request("GET", f"{host.url}/v1/thing", timeout=5).status


class TestWhoIsAtTheOtherEnd:
    def test_a_server_of_the_cluster_is_talked_to(self) -> None:
        with serving(Host(LAB.server("c1s1"))) as host:
            assert ask(LAB.lines(), host) == 200

    def test_a_server_of_another_cluster_hears_nothing(self) -> None:
        other = Identities("lab")  # even of the same name
        with serving(Host(other.server("c1s1"), other)) as host:
            with pytest.raises(UntrustedError, match="no server of this cluster"):
                ask(LAB.lines(), host)
            assert host.asked == []

    def test_a_server_that_certified_itself_hears_nothing(self) -> None:
        """A laptop that shows what a server of this cluster would show, by its own signature."""
        own = Issuer.authority("lab")
        key = new_key()
        server = own.issue("c1s1", Role.SERVER, Location("1", "1"), key.public_key())
        for chain in ((server,), (server, own.certificate)):
            with serving(Host(LAB.server("c1s1"), shows=Shown(chain, key))) as host:
                with pytest.raises(UntrustedError, match="no server of this cluster"):
                    ask(LAB.lines(), host)
                assert host.asked == []

    def test_a_server_that_a_stolen_enroller_certified_hears_nothing(self) -> None:
        """Its chain leads to the authority, and TLS alone would believe it."""
        thief, key = new_key(), new_key()
        leave = LAB.issuer.issue("c2s1", Role.ENROLLER, Location("2", "1"), thief.public_key())
        server = Issuer("lab", "c2s1", thief).issue("c1s1", Role.SERVER, Location("1", "1"), key.public_key())
        with serving(Host(LAB.server("c1s1"), shows=Shown((server, leave), key))) as host:
            with pytest.raises(UntrustedError, match="no server of this cluster"):
                ask(LAB.lines(), host)
            assert host.asked == []

    def test_a_server_that_speaks_an_older_tls_hears_nothing(self) -> None:
        with serving(Host(LAB.server("c1s1"), newest=ssl.TLSVersion.TLSv1_2)) as host:
            with pytest.raises(HTTPError):
                ask(LAB.lines(), host)
            assert host.asked == []

    @pytest.mark.parametrize("role", [Role.BOARD, Role.VIEWER, Role.ADMIN, Role.ENROLLER])
    def test_a_member_that_is_no_server_hears_nothing(self, role: Role) -> None:
        with serving(Host(LAB.person(role))) as host:
            with pytest.raises(UntrustedError, match="no server of this cluster"):
                ask(LAB.lines(), host)
            assert host.asked == []

    def test_a_server_whose_key_is_revoked_hears_nothing(self) -> None:
        with serving(Host(LAB.server("c1s1"))) as host:
            revoked = frozenset({host.identity.identity.key})
            with pytest.raises(UntrustedError):
                ask(lines_of(LAB.board("c1s9"), lambda: revoked), host)
            assert host.asked == []

    def test_nor_does_one_that_is_revoked_while_the_line_is_up(self) -> None:
        revoked: set[str] = set()
        with serving(Host(LAB.server("c1s1"))) as host:
            lines = lines_of(LAB.board("c1s9"), lambda: frozenset(revoked))
            pool = lines.manager(retries=False).connection_from_url(host.url)
            assert pool.urlopen("GET", "/v1/thing").status == 200
            revoked.add(host.identity.identity.key)
            heard = len(host.asked)
            with pytest.raises(UntrustedError):
                pool.urlopen("GET", "/v1/thing")
            assert len(host.asked) == heard

    def test_no_clock_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(issuing, "UNTIL", dt.datetime(1971, 1, 1, tzinfo=dt.UTC))
        with serving(Host(LAB.server("c1s1"))) as host:
            assert ask(LAB.lines(), host) == 200

    def test_nothing_is_said_without_tls(self) -> None:
        with pytest.raises(HTTPError):
            LAB.lines().manager(retries=False).request("GET", "http://127.0.0.1:1/")
        with pytest.raises(HTTPError):
            LAB.lines().line("http://127.0.0.1:1/", 1.0)

    def test_who_joins_may_talk_to_anybody_before_it_has_an_authority(self) -> None:
        other = Identities("elsewhere")
        with serving(Host(other.server("c1s1"), other)) as host:
            assert ask(Lines(None), host) == 401  # and says nothing of itself
            assert host.headers == [""]


class TestWhoAsks:
    def test_is_proven_once_for_each_server(self) -> None:
        near, far = Host(LAB.server("c1s1")), Host(LAB.server("c2s1", "2"))
        lines = LAB.lines()
        with serving(near, far):
            for host in (near, far, near, far):
                assert ask(lines, host) == 200
        for host in (near, far):
            assert host.sessions() == 1
            assert [who for path, who in host.asked if path == "/v1/thing"] == ["c1s9", "c1s9"]
        assert not {header for header in near.headers if header} & set(far.headers)

    def test_is_proven_anew_after_a_restart_and_the_call_is_not_lost(self) -> None:
        with serving(Host(LAB.server("c1s1"))) as host:
            pool = LAB.lines().manager(retries=False).connection_from_url(host.url)
            assert pool.urlopen("GET", "/v1/thing").status == 200
            host.restart()
            assert pool.urlopen("POST", "/v1/thing", body=b"body").status == 200
            assert host.sessions() == 2

    def test_bears_its_token_though_another_thread_drops_it_meanwhile(self) -> None:
        class Dropped(Lines):
            """Lines whose token another thread drops as soon as it was looked at."""

            def token(self, server: str) -> str:
                found = super().token(server)
                self.forget(server, found)
                return found

        with serving(Host(LAB.server("c1s1"))) as host:
            pool = Dropped(LAB.authority, LAB.board("c1s9")).manager(retries=False).connection_from_url(host.url)
            assert [pool.urlopen("GET", "/v1/thing").status for _ in range(3)] == [200, 200, 200]

    def test_may_meet_two_processes_of_one_server_at_the_same_time(self) -> None:
        class Crossed(Lines):
            """Lines where another thread talks to the other process whenever this one has proven itself."""

            other = Token("", 0.0)

            def keep(self, server: str, token: Token) -> None:
                super().keep(server, self.other if self.other.token else token)

        old, new = Host(LAB.server("c1s1")), Host(LAB.server("c1s1"))
        lines = Crossed(LAB.authority, LAB.board("c1s9"))
        with serving(old, new):
            assert ask(lines, old) == 200
            Crossed.other = Token(lines.token("c1s1"), 60.0)
            assert [ask(lines, host) for host in (new, old, new)] == [200, 200, 200]

    def test_is_asked_once_more_and_not_for_ever(self) -> None:
        with serving(Host(LAB.server("c1s1"))) as host:
            lines = LAB.lines()
            host.callers.client = lambda authorization: host.identities.callers().client(authorization)  # type: ignore[method-assign]
            assert ask(lines, host) == 401
            assert host.sessions() == 2

    def test_learns_why_it_is_not_let_in(self) -> None:
        board = LAB.board("c1s9")
        with serving(Host(LAB.server("c1s1"))) as host:
            host.callers = Callers(host.identity, lambda: frozenset({board.identity.key}))
            with pytest.raises(RefusedError, match="c1s1 does not let in who asks: the key of c1s9 is revoked"):
                ask(LAB.lines(board), host)

    @pytest.mark.parametrize("garbage", [b"", b"[]", b'{"nonce":1}', b'{"nonce":"' + b"A" * 100_000 + b'"}'])
    def test_leaves_a_server_that_says_something_else(self, garbage: bytes) -> None:
        with serving(Host(LAB.server("c1s1"))) as host:
            host.callers.answer = lambda method, path, body, sender: (200, garbage)  # type: ignore[method-assign]
            with pytest.raises(HTTPError):
                ask(LAB.lines(), host)

    def test_signs_for_the_server_whose_certificate_it_sees(self) -> None:
        """A server that passes the nonce of another one on gains nothing that is good there."""
        victim, liar = Host(LAB.server("c1s1")), Host(LAB.server("c2s1", "2"))
        proofs: list[bytes] = []

        def passed_on(method: str, path: str, body: bytes, sender: str) -> tuple[int, bytes] | None:
            if method == "POST":
                proofs.append(body)
            return victim.callers.answer(method, path, body, sender)

        liar.callers.answer = passed_on  # type: ignore[method-assign]
        with serving(liar, victim), pytest.raises(RefusedError, match="not by the key"):
            ask(LAB.lines(), liar)
        assert len(proofs) == 1
        assert b"error" in (victim.callers.answer("POST", SESSION_PATH, proofs[0], "") or (0, b""))[1]
        assert msgspec.json.decode(proofs[0])
