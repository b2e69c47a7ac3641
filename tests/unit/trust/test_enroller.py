"""The enroller of a control board: what a server takes for its own, and what it says of anything else."""

from pathlib import Path

import pytest

from boardwright.errors import UsageError
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.trust.enroller import load_enroller
from boardwright.trust.issuing import Issuer, key_pem, new_key
from tests.identities import Identities

CORE = Identities("core1")
HERE = Location("1", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    CORE.write(tmp_path, Board("c1s1", HERE, "rp", server=True))
    return tmp_path


def load(folder: Path, server: str = "c1s1") -> Issuer | None:
    return load_enroller(folder, CORE.authority, "core1", server)


def test_a_server_has_its_own(folder: Path) -> None:
    found = load(folder)
    assert found is not None
    assert CORE.authority.verify(found.certificate).identity.location == HERE


def test_a_server_may_do_without(tmp_path: Path) -> None:
    assert load(tmp_path) is None


def test_another_server_s_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"of c1s1 \(enroller\), not of an enroller of c2s1"):
        load(folder, "c2s1")


def test_another_certificate_in_its_place_is_refused(folder: Path) -> None:
    (folder / "enroller.pem").write_bytes((folder / "certificate.pem").read_bytes())
    with pytest.raises(UsageError, match=r"of c1s1 \(server\)"):
        load(folder)


def test_a_stranger_s_is_refused(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    Identities("core1").write(other, Board("c1s1", HERE, "rp", server=True))
    (folder / "enroller.pem").write_bytes((other / "enroller.pem").read_bytes())
    with pytest.raises(UsageError, match="signature"):
        load(folder)


def test_another_key_is_refused(folder: Path) -> None:
    (folder / "enroller-key.pem").write_bytes(key_pem(new_key()))
    with pytest.raises(UsageError, match="is not the key that"):
        load(folder)


@pytest.mark.parametrize("file", ["enroller.pem", "enroller-key.pem"])
def test_half_of_it_is_refused(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(UsageError, match=file):
        load(folder)
