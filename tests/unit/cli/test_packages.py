"""pack, sign and publish of a package: a vendor who never saw the cluster, and what it lets him do."""

import subprocess
from pathlib import Path

import pytest

from boardwright.transfer.package import read_package
from boardwright.trust.credentials import load_key
from boardwright.trust.issuing import key_pem, new_key
from boardwright.trust.names import TARGETS
from boardwright.trust.offline import delegate_group, signer_of
from tests.unit.cli.conftest import IDENTITIES, NOW, Command, FakeCluster


@pytest.fixture
def vendor(tmp_path: Path) -> Path:
    """The vendor's key, made by openssl as the docs show."""
    folder = tmp_path / "vendor"
    folder.mkdir()
    path = folder / "vendor.pem"
    path.touch(0o600)
    words = ("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(path))
    subprocess.run(words, check=True, capture_output=True)
    path.chmod(0o600)
    return path


@pytest.fixture
def package(command: Command, tmp_path: Path) -> Path:
    return packed(command, tmp_path, "1")


def packed(command: Command, folder: Path, version: str) -> Path:
    software = folder / f"software{version}"
    software.mkdir()
    (software / "file").write_text(f"version {version}")
    path = folder / f"routing-{version}.pkg"
    assert command("pack", str(software), "-o", str(path), "--group", "routing", "--version", version).code == 0
    return path


def delegate(cluster: FakeCluster, key: Path, group: str = "routing") -> None:
    public = signer_of(load_key(key)).public_key
    targets = delegate_group(cluster.signed.roles[TARGETS], group, [public], IDENTITIES.operator, NOW)
    cluster.signed = cluster.signed.with_targets(targets).signed(None, IDENTITIES.signer, NOW)


class TestAVendor:
    def test_packs_and_signs_without_a_cluster_and_the_operator_publishes(
        self, command: Command, cluster: FakeCluster, vendor: Path, package: Path
    ) -> None:
        delegate(cluster, vendor)
        signed = command("sign", str(package), "--key", str(vendor))
        assert signed.code == 0, signed.err
        ended = command("publish", str(package))
        assert ended.code == 0, ended.err
        assert "routing 1 published" in ended.out
        assert cluster.signed.names(read_package(package).target)
        assert "was published already" in command("publish", str(package)).out

    def test_signs_for_many_clusters_of_which_each_takes_what_it_likes(
        self, command: Command, cluster: FakeCluster, vendor: Path, tmp_path: Path
    ) -> None:
        delegate(cluster, vendor)
        packages = [packed(command, tmp_path, version) for version in "123"]
        for package in packages:
            assert command("sign", str(package), "--key", str(vendor)).code == 0
        for number in (1, 2, 0):
            ended = command("publish", str(packages[number]))
            assert ended.code == 0, ended.err
        assert [one.version for one in cluster.versions] == ["2", "3", "1"]

    def test_gets_the_same_when_he_signs_again(self, command: Command, vendor: Path, package: Path) -> None:
        assert command("sign", str(package), "--key", str(vendor)).code == 0
        first = package.read_bytes()
        assert command("sign", str(package), "--key", str(vendor)).code == 0
        assert package.read_bytes() == first

    def test_signs_no_group_that_was_not_delegated_to_him(
        self, command: Command, cluster: FakeCluster, vendor: Path, package: Path
    ) -> None:
        delegate(cluster, vendor, "platform")
        assert command("sign", str(package), "--key", str(vendor)).code == 0
        refused = command("publish", str(package))
        assert (refused.code, refused.out) == (3, "")
        assert "does not let the key that signed routing 1 sign that group" in refused.err
        assert cluster.blobs == {}, "the bytes did not travel"

    def test_signs_one_content_under_one_name(
        self, command: Command, vendor: Path, package: Path, tmp_path: Path
    ) -> None:
        assert command("sign", str(package), "--key", str(vendor)).code == 0
        other = tmp_path / "other"
        other.mkdir()
        again = packed(command, other, "1")
        (other / "software1" / "file").write_text("other content")
        again.unlink()
        words = ("pack", str(other / "software1"), "-o", str(again), "--group", "routing", "--version", "1")
        assert command(*words).code == 0
        refused = command("sign", str(again), "--key", str(vendor))
        assert refused.code == 3
        assert "is signed with other content" in refused.err

    def test_does_not_go_on_from_what_somebody_else_has_signed(
        self, command: Command, vendor: Path, package: Path, tmp_path: Path
    ) -> None:
        assert command("sign", str(package), "--key", str(vendor)).code == 0
        other = tmp_path / "other.pem"
        other.touch(0o600)
        other.write_bytes(key_pem(new_key()))
        role = str(vendor.parent / "software-routing.json")
        second = packed(command, tmp_path, "2")
        words = ("sign", str(second), "--key", str(other), "--role", role)
        refused = command(*words)
        assert refused.code == 3
        assert "is not signed by this key" in refused.err
        assert command(*words, "--take-over").code == 0

    def test_does_not_sign_what_is_broken(self, command: Command, vendor: Path, package: Path) -> None:
        data = bytearray(package.read_bytes())
        data[-1] ^= 1
        package.write_bytes(data)
        refused = command("sign", str(package), "--key", str(vendor))
        assert refused.code == 2
        assert "is broken: piece 0" in refused.err
        assert not (vendor.parent / "software-routing.json").exists()


class TestAnOperator:
    def test_signs_a_package_that_nobody_signed_with_his_own_key(
        self, command: Command, cluster: FakeCluster, package: Path
    ) -> None:
        ended = command("publish", str(package))
        assert ended.code == 0, ended.err
        assert cluster.signed.names(read_package(package).target)

    def test_does_not_rename_what_a_package_names(self, command: Command, package: Path) -> None:
        refused = command("publish", str(package), "--version", "2")
        assert refused.code == 2
        assert "names its group, version and board types itself" in refused.err

    def test_is_told_of_a_signature_in_a_dry_run(
        self, command: Command, cluster: FakeCluster, vendor: Path, package: Path
    ) -> None:
        assert command("sign", str(package), "--key", str(vendor)).code == 0
        assert command("publish", str(package), "--dry-run").code == 3
        delegate(cluster, vendor)
        assert "would be published" in command("publish", str(package), "--dry-run").out


class TestALockedKey:
    @pytest.fixture
    def locked(self, vendor: Path) -> Path:
        vendor.write_bytes(key_pem(load_key(vendor), "open sesame"))
        return vendor

    def test_is_opened_by_a_passphrase_in_a_file(
        self, command: Command, locked: Path, package: Path, tmp_path: Path
    ) -> None:
        word = tmp_path / "word"
        word.write_text("open sesame\nnot this\n")
        ended = command("--passphrase-file", str(word), "sign", str(package), "--key", str(locked))
        assert ended.code == 0, ended.err

    def test_is_not_opened_by_another(self, command: Command, locked: Path, package: Path, tmp_path: Path) -> None:
        word = tmp_path / "word"
        word.write_text("sesame")
        ended = command("--passphrase-file", str(word), "sign", str(package), "--key", str(locked))
        assert ended.code == 2
        assert "the passphrase wrong" in ended.err

    def test_says_what_it_needs_where_nobody_can_be_asked(
        self, command: Command, locked: Path, package: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: False)
        ended = command("sign", str(package), "--key", str(locked))
        assert ended.code == 2
        assert "BOARDWRIGHT_PASSPHRASE" in ended.err


def test_a_key_in_hardware_needs_its_public_half(command: Command, package: Path) -> None:
    ended = command("sign", str(package), "--key", "hsm:2")
    assert ended.code == 2
    assert "--public-key FILE" in ended.err


def test_a_package_does_not_take_the_place_of_a_file(command: Command, package: Path, tmp_path: Path) -> None:
    before = package.read_bytes()
    ended = command("pack", str(tmp_path / "software1"), "-o", str(package), "--group", "g", "--version", "1")
    assert ended.code == 3
    assert package.read_bytes() == before
