"""What a laptop, a stolen line board and a stolen control board get out of a server's sessions and routes.

The lists here are written by hand, apart from the table in ``server.api.callers``: a slip in it must show.
"""

import pytest

from boardwright.errors import BoardwrightError, ForbiddenError
from boardwright.model.location import Location
from boardwright.model.sessions import Proof
from boardwright.server.api.callers import ACCESS, ANYBODY
from boardwright.server.callers import Callers
from boardwright.trust.credentials import Credentials
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Role
from boardwright.trust.issuing import NOWHERE, Issuer, new_key
from boardwright.trust.sessions import NONCE_LIFE, proof
from tests.identities import Identities
from tests.tls import LAB

HERE, THERE = LAB.server("c1s1"), LAB.server("c2s1", "2")
BOARD = LAB.board("c1s9")
PLACE = Location("1", "9")
SLOTS = [Role.SERVER, Role.BOARD]


class Host:
    """A server whose clock the test moves."""

    def __init__(self, server: Credentials = HERE) -> None:
        self.id = server.identity.id
        self.now = 1000.0
        self.callers = Callers(server, clock=lambda: self.now)

    def nonce(self) -> bytes:
        return self.callers.nonce().nonce

    def proven(self, chain: tuple[bytes, ...], key: object, host: str = "") -> str:
        """The role that a session gives, with a proof over this host's own nonce."""
        nonce = self.nonce()
        return self.take(Proof(chain, nonce, proof(host or self.id, nonce, key)))  # type: ignore[arg-type]

    def take(self, said: Proof) -> str:
        token = self.callers.open(said, "10.0.0.66").token
        return self.callers.caller(f"Bearer {token}").role.value


@pytest.fixture
def host() -> Host:
    return Host()


def certified(by: Issuer, role: Role, subject: str = "c1s9") -> tuple[bytes, object]:
    """A certificate of this issuer, and its key."""
    key = new_key()
    return by.issue(subject, role, PLACE if role in SLOTS else NOWHERE, key.public_key()), key


def may(role: Role) -> set[str]:
    """What the role may call and not everybody may."""
    return {" ".join(call) for call, roles in ACCESS.items() if role in roles}


class TestALaptop:
    """It has no key of the cluster, and has heard every certificate there is."""

    @pytest.mark.parametrize("role", [Role.BOARD, Role.SERVER, Role.ADMIN])
    def test_gets_no_session_by_a_certificate_that_it_signed_itself(self, host: Host, role: Role) -> None:
        key = new_key()
        own = Issuer("lab", "c1s9", key).issue("c1s9", role, PLACE, key.public_key())
        with pytest.raises(UntrustedError, match="not by the key"):
            host.proven((own,), key)

    @pytest.mark.parametrize("role", [Role.BOARD, Role.SERVER, Role.ADMIN])
    def test_gets_none_by_an_authority_of_its_own_of_the_same_name(self, host: Host, role: Role) -> None:
        stranger = Identities("lab").issuer
        certificate, key = certified(stranger, role)
        for chain in ((certificate,), (certificate, stranger.certificate)):
            with pytest.raises(UntrustedError):
                host.proven(chain, key)

    @pytest.mark.parametrize("who", [BOARD, THERE, LAB.person(Role.ADMIN)], ids=["board", "server", "admin"])
    def test_gets_none_by_a_certificate_that_it_heard_and_a_key_of_its_own(self, host: Host, who: Credentials) -> None:
        with pytest.raises(UntrustedError, match="not by the key"):
            host.proven(who.chain, new_key())

    def test_gets_none_by_the_authority_s_certificate_which_everybody_has(self, host: Host) -> None:
        with pytest.raises(BoardwrightError):
            host.proven((LAB.authority.certificate,), new_key())

    @pytest.mark.parametrize("length", [0, 3])
    def test_gets_none_by_a_chain_of_another_length(self, host: Host, length: int) -> None:
        with pytest.raises(UntrustedError, match="one or two are read"):
            host.proven(BOARD.chain * length, BOARD.key)

    def test_in_between_gains_nothing_by_a_proof_that_it_passes_on(self, host: Host) -> None:
        """The board signs for the server that it believes to talk to."""
        with pytest.raises(UntrustedError, match="not by the key"):
            host.proven(BOARD.chain, BOARD.key, host="c2s1")

    def test_gains_nothing_by_a_proof_over_another_server_s_nonce_or_an_old_one(self, host: Host) -> None:
        nonce = Host(THERE).nonce()
        with pytest.raises(UntrustedError, match="not from this host"):
            host.take(Proof(BOARD.chain, nonce, proof("c1s1", nonce, BOARD.key)))
        nonce = host.nonce()
        host.now += NONCE_LIFE + 1
        with pytest.raises(UntrustedError, match="too old"):
            host.take(Proof(BOARD.chain, nonce, proof("c1s1", nonce, BOARD.key)))

    def test_may_call_what_must_be_open_and_nothing_else(self) -> None:
        assert {" ".join(call) for call, roles in ACCESS.items() if roles == ANYBODY} == {
            "GET /v1/health",
            "GET /metrics",
            "GET /v1/session/nonce",
            "POST /v1/session",
            "GET /v1/authority",
            "GET /v1/revocations",
            "POST /v1/revocations",
            "POST /v1/joins",
        }


class TestAStolenLineBoard:
    """It has its own key and certificate."""

    def test_is_that_board_and_no_other(self, host: Host) -> None:
        assert host.proven(BOARD.chain, BOARD.key) == "board"
        other = LAB.board("c1s8", slot="8")
        with pytest.raises(UntrustedError):
            host.proven(other.chain, BOARD.key)

    @pytest.mark.parametrize("role", Role)
    def test_certifies_nobody(self, host: Host, role: Role) -> None:
        certificate, key = certified(Issuer("lab", "c1s9", BOARD.key), role, "c1s8")
        for chain in ((certificate,), (certificate, BOARD.certificate)):
            with pytest.raises(UntrustedError):
                host.proven(chain, key)

    def test_has_no_use_for_its_session_at_another_server(self, host: Host) -> None:
        nonce = host.nonce()
        token = host.callers.open(Proof(BOARD.chain, nonce, proof("c1s1", nonce, BOARD.key)), "").token
        with pytest.raises(UntrustedError, match="not from this host"):
            Host(THERE).callers.caller(f"Bearer {token}")

    def test_may_call_what_a_board_needs_and_nothing_that_an_operator_does(self) -> None:
        assert may(Role.BOARD) == {
            "GET /v1/plan/boards/{board}",  # its own: test_callers.TestForItself
            "GET /v1/metadata/{name}",
            "GET /v1/metadata/targets/plans/{name}",
            "POST /v1/blobs/{sha256}/verify",  # a question: the bytes are hashed, nobody is believed
            "POST /v1/reports",  # for itself
        }


class TestAStolenControlBoard:
    """It has a server's key and certificate, and its enroller's."""

    @pytest.fixture
    def enroller(self) -> Issuer:
        key = new_key()
        leave = LAB.issuer.issue("c2s1", Role.ENROLLER, Location("2", "1"), key.public_key())
        return Issuer("lab", "c2s1", key, leave)

    @pytest.mark.parametrize("role", [role for role in Role if role is not Role.BOARD])
    def test_certifies_no_server_no_operator_and_no_other_enroller(
        self, host: Host, enroller: Issuer, role: Role
    ) -> None:
        certificate, key = certified(enroller, role, "c2s9")
        for chain in ((certificate, enroller.certificate), (certificate,)):
            with pytest.raises(UntrustedError):
                host.proven(chain, key)

    def test_certifies_line_boards_until_it_is_revoked(self, enroller: Issuer) -> None:
        revoked: set[str] = set()
        host = Host()
        host.callers = Callers(HERE, lambda: frozenset(revoked))
        certificate, key = certified(enroller, Role.BOARD, "c2s9")
        assert host.proven((certificate, enroller.certificate), key) == "board"
        revoked.add(LAB.authority.verify(enroller.certificate).identity.key)
        with pytest.raises(UntrustedError, match="enrolled c2s9 is revoked"):
            host.proven((certificate, enroller.certificate), key)

    def test_asks_nothing_as_an_enroller(self, host: Host) -> None:
        who = LAB.person(Role.ENROLLER)
        with pytest.raises(ForbiddenError):
            host.proven(who.chain, who.key)

    def test_may_call_what_a_server_needs_and_changes_nothing(self) -> None:
        """What boards run and who belongs is changed by people alone; what it tells is only what it hears of boards."""
        assert may(Role.SERVER) == may(Role.BOARD) | {"POST /v1/servers/status"}
