"""Who may talk to etcd, and whom we believe to be etcd: users, TLS, one cluster."""

import base64
import datetime as dt
import ipaddress
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from boardwright.errors import UsageError
from boardwright.state.engine import open_kv
from boardwright.state.etcd_client import EtcdAccess
from boardwright.state.examine import examine_engine
from boardwright.state.kv import KV, EngineError, Transaction
from tests.etcd_members import EtcdMembers, Files, members

Open = Callable[..., KV]


@pytest.fixture
def opened() -> Iterator[Callable[[KV], KV]]:
    made: list[KV] = []

    def keep(kv: KV) -> KV:
        made.append(kv)
        return kv

    yield keep
    for kv in made:
        kv.close()


class TestUsers:
    @pytest.fixture(scope="class")
    @staticmethod
    def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdMembers]:
        """Users ``root`` and ``bw``, who may write below ``boardwright/ours/`` and nowhere else."""
        with members(tmp_path_factory.mktemp("etcd")) as one:
            (host,) = one.hosts
            mine = {"permType": "READWRITE", "key": _b64("boardwright/ours/"), "range_end": _b64("boardwright/ours0")}
            for path, message in (
                ("user/add", {"name": "root", "password": "r"}),
                ("role/add", {"name": "root"}),
                ("user/grant", {"user": "root", "role": "root"}),
                ("user/add", {"name": "bw", "password": "secret"}),
                ("role/add", {"name": "ours"}),
                ("role/grant", {"name": "ours", "perm": mine}),
                ("user/grant", {"user": "bw", "role": "ours"}),
                ("enable", {}),
            ):
                assert one.call(host, f"/v3/auth/{path}", message), path
            yield one

    @pytest.fixture
    @staticmethod
    def kv(etcd: EtcdMembers, tmp_path: Path, opened: Callable[[KV], KV]) -> Open:
        def make(cluster: str = "ours", user: str = "bw", password: str = "secret\n") -> KV:
            (tmp_path / "password").write_text(password)
            return opened(etcd.kv(cluster, EtcdAccess(user=user, password_file=tmp_path / "password")))

        return make

    def test_a_user_reads_writes_and_watches_below_its_cluster(self, kv: Open) -> None:
        mine = kv()
        revision = mine.commit(Transaction({"a": 0}, {"a": b"x" * 1_500_000}))
        assert mine.get("a") is not None
        assert [change.key for change in mine.watch("", revision - 1, 1.0)] == ["a"]
        assert mine.health() == ""

    @pytest.mark.parametrize("deed", ["read", "write", "watch"])
    def test_elsewhere_it_is_refused_with_a_way_out(self, kv: Open, deed: str) -> None:
        theirs = kv("theirs")
        deeds: dict[str, Callable[[], object]] = {
            "read": lambda: theirs.range(""),
            "write": lambda: theirs.commit(Transaction({"a": 0}, {"a": b""})),
            "watch": lambda: theirs.watch("", 0, 0.1),
        }
        with pytest.raises(EngineError, match="permission denied") as caught:
            deeds[deed]()
        assert "boardwright/CLUSTER/" in (caught.value.hint or "")

    def test_a_wrong_password_is_said(self, kv: Open) -> None:
        with pytest.raises(EngineError, match="invalid user ID or password"):
            kv(password="wrong").get("a")

    def test_nobody_is_refused(self, etcd: EtcdMembers, opened: Callable[[KV], KV]) -> None:
        with pytest.raises(EngineError, match="etcd refuses the call: etcdserver: user name is empty"):
            opened(etcd.kv("ours")).get("a")

    def test_a_token_that_etcd_has_dropped_is_replaced_without_a_word(self, etcd: EtcdMembers, kv: Open) -> None:
        mine = kv()
        revision = mine.range("").revision
        deeds: tuple[Callable[[], object], ...] = (
            lambda: mine.range(""),
            lambda: mine.watch("", revision, 0.1),
            lambda: mine.commit(Transaction({"b": 0}, {"b": b""})),
        )
        for deed in deeds:
            _drop_tokens(etcd)
            deed()

    def test_a_user_may_be_told_how_the_members_are(self, etcd: EtcdMembers, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("secret\n")
        access = EtcdAccess(user="bw", password_file=tmp_path / "password")
        (found,) = examine_engine(etcd.engine, access).endpoints
        assert (found.trouble, found.voters, found.has_leader) == ("", 1, True)

    def test_a_restart_costs_a_user_nothing(self, etcd: EtcdMembers, kv: Open) -> None:
        mine = kv()
        mine.range("")
        (host,) = etcd.hosts
        etcd.kill(host)
        etcd.start(host)
        etcd.wait()
        mine.range("")

    def test_no_user_where_there_are_users_and_the_other_way_round(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("secret")
        with members(tmp_path / "etcd") as one:
            kv = one.kv("ours", EtcdAccess(user="bw", password_file=tmp_path / "password"))
            with pytest.raises(EngineError, match="authentication is not enabled"):
                kv.get("a")
            kv.close()

    @pytest.mark.parametrize("content", [b"", b"\n", b"a\nb\n", b"\xff", b"x" * 1025, None])
    def test_a_password_is_one_line_of_text(self, tmp_path: Path, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / "password").write_bytes(content)
        with pytest.raises(UsageError, match=r"password: (is not one line|no password can be read)"):
            open_kv("etcd://127.0.0.1", "x", EtcdAccess(user="u", password_file=tmp_path / "password"))


class TestTls:
    @pytest.fixture(scope="class")
    @staticmethod
    def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("etcd")

    @pytest.fixture(scope="class")
    @staticmethod
    def etcd(folder: Path) -> Iterator[EtcdMembers]:
        made = EtcdMembers(folder, 1)
        ours = _Authority(folder / "ours")
        files = ours.write("member", made.hosts[0])
        ours.write("client", None)
        _Authority(folder / "theirs").write("client", None)
        made.tls = files
        try:
            made.start()
            made.wait()
            yield made
        finally:
            made.stop()

    @staticmethod
    def access(folder: Path, authority: str = "ours", who: str | None = "ours") -> EtcdAccess:
        certificate, key = (None, None) if who is None else (folder / who / "client.pem", folder / who / "client.key")
        return EtcdAccess(ca=folder / authority / "ca.pem", certificate=certificate, key=key)

    def test_both_sides_show_certificates(self, etcd: EtcdMembers, folder: Path, opened: Callable[[KV], KV]) -> None:
        kv = opened(etcd.kv("x", self.access(folder)))
        revision = kv.commit(Transaction({"a": 0}, {"a": b"1"}))
        assert [change.key for change in kv.watch("", revision - 1, 1.0)] == ["a"]
        assert kv.health() == ""

    def test_the_doctor_sees_when_a_member_s_certificate_ends_and_whom_it_does_not_trust(
        self, etcd: EtcdMembers, folder: Path
    ) -> None:
        (found,) = examine_engine(etcd.engine, self.access(folder)).endpoints
        shown = x509.load_pem_x509_certificate((folder / "ours" / "member.pem").read_bytes())
        assert (found.trouble, found.expires) == ("", shown.not_valid_after_utc.timestamp())
        (found,) = examine_engine(etcd.engine, self.access(folder, authority="theirs")).endpoints
        assert "is not to be trusted" in found.trouble
        missing = EtcdAccess(ca=folder / "nothing.pem")
        assert "no certificates" in examine_engine(etcd.engine, missing).endpoints[0].trouble

    def test_closing_wakes_a_waiting_watch(self, etcd: EtcdMembers, folder: Path) -> None:
        kv = etcd.kv("x", self.access(folder))
        revision = kv.range("").revision
        with pytest.raises(EngineError, match="closed"), _closing_soon(kv):
            kv.watch("", revision, 30.0)

    def test_another_authority_than_ours_is_not_believed(
        self, etcd: EtcdMembers, folder: Path, opened: Callable[[KV], KV]
    ) -> None:
        kv = opened(etcd.kv("x", self.access(folder, authority="theirs")))
        with pytest.raises(EngineError, match="is not to be trusted, or does not trust us"):
            kv.get("a")
        with pytest.raises(EngineError, match="is not to be trusted, or does not trust us"):
            kv.watch("", 1, 0.0)

    def test_a_certificate_for_another_host_is_not_believed(
        self, folder: Path, tmp_path: Path, opened: Callable[[KV], KV]
    ) -> None:
        authority = _Authority(tmp_path / "ours")
        authority.write("client", None)
        with members(tmp_path / "etcd", tls=authority.write("member", "10.9.9.9")) as one:
            kv = opened(one.kv("x", self.access(tmp_path)))
            for deed in (lambda: kv.get("a"), lambda: kv.watch("", 1, 0.0)):
                with pytest.raises(EngineError, match="IP address mismatch"):
                    deed()

    @pytest.mark.parametrize("who", [None, "theirs"])
    def test_etcd_wants_a_certificate_of_its_own_authority(
        self, etcd: EtcdMembers, folder: Path, opened: Callable[[KV], KV], who: str | None
    ) -> None:
        kv = opened(etcd.kv("x", self.access(folder, who=who)))
        with pytest.raises(EngineError, match="etcd does not answer"):
            kv.get("a")

    def test_without_tls_there_is_no_answer(self, etcd: EtcdMembers, opened: Callable[[KV], KV]) -> None:
        with pytest.raises(EngineError):
            opened(etcd.kv("x")).get("a")

    @pytest.mark.parametrize("broken", ["ca.pem", "client.pem", "client.key"])
    def test_files_that_are_none_are_wrong_usage(self, etcd: EtcdMembers, folder: Path, broken: str) -> None:
        files = {name: folder / "ours" / name for name in ("ca.pem", "client.pem", "client.key")}
        files[broken] = folder / "nothing.pem"
        with pytest.raises(UsageError, match=r"nothing\.pem"):
            etcd.kv("x", EtcdAccess(ca=files["ca.pem"], certificate=files["client.pem"], key=files["client.key"]))


def test_an_endpoint_of_another_etcd_is_not_believed(tmp_path: Path, opened: Callable[[KV], KV]) -> None:
    with members(tmp_path / "one") as one, members(tmp_path / "two") as two:
        kv = opened(open_kv(f"{one.engine},{two.hosts[0]}:2379", "x"))
        revision = kv.commit(Transaction({"a": 0}, {"a": b"1"}))
        assert kv.watch("", revision - 1, 1.0)
        one.stop()
        for deed in (lambda: kv.get("a"), lambda: kv.watch("", revision, 0.0)):
            with pytest.raises(EngineError, match="is of another etcd cluster than the one that this"):
                deed()
        with pytest.raises(EngineError):
            kv.commit(Transaction({"b": 0}, {"b": b"1"}))


def _drop_tokens(etcd: EtcdMembers) -> None:
    """A new password, the same, makes the tokens of its user void."""
    (host,) = etcd.hosts
    root = etcd.call(host, "/v3/auth/authenticate", {"name": "root", "password": "r"})["token"]
    same = {"name": "bw", "password": "secret"}
    assert etcd.call(host, "/v3/auth/user/changepw", same, {"Authorization": root})


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@contextmanager
def _closing_soon(kv: KV) -> Iterator[None]:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(kv.close)
        yield


class _Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        builder = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self._pem(folder / "ca.pem", builder)

    def write(self, name: str, host: str | None) -> Files:
        """Certificate and key; those of a member are for its host, and good for servers and clients."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if host else [])]
        builder = self._builder(x509.Name([]), key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        if host is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
            builder = builder.add_extension(names, critical=True)
        self._pem(self._folder / f"{name}.pem", builder)
        (self._folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Files(self._folder / "ca.pem", self._folder / f"{name}.pem", self._folder / f"{name}.key")

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        day = dt.timedelta(days=1)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        return builder.not_valid_before(now - day).not_valid_after(now + day)

    def _pem(self, path: Path, builder: x509.CertificateBuilder) -> None:
        path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
