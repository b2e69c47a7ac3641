"""The example of an installer of one's own: its tests pass, an agent finds it by entry point and deploys with it."""

import os
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from boardwright.agent.installers.registry import find_installers
from boardwright.model.software import InstallSpec
from tests.integration.agent.lab import LabServer, Software, plan, run_once, servers

EXAMPLE = Path(__file__).parents[3] / "examples" / "boardwright-installer-slots"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Distribution:
    """The package on the path with what an installation writes beside it."""
    site = tmp_path / "site"
    facts = site / "boardwright_installer_slots-0.1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "boardwright_slots").symlink_to(EXAMPLE / "src" / "boardwright_slots")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: boardwright-installer-slots\nVersion: 0.1.0\n")
    (facts / "entry_points.txt").write_text("[boardwright.installers]\nslots = boardwright_slots:SlotsInstaller\n")
    monkeypatch.syspath_prepend(str(site))
    return PathDistribution(facts)


def test_its_own_tests_pass() -> None:
    environment = os.environ | {"PYTHONPATH": f"{EXAMPLE}/src:{EXAMPLE}/tests"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        str(EXAMPLE / "tests"),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout


def test_an_agent_finds_it_and_deploys_with_it(tmp_path: Path, installed: Distribution) -> None:
    assert "slots" in find_installers()
    slots = InstallSpec(installer="slots")
    with servers(LabServer("c1s1", "1", "1")) as (server,):
        for number, image in enumerate((b"one", b"two"), start=1):
            plan(number, Software(f"3.{number}", {"disk.img": image}, install=slots), on=(server,))
            run_once(tmp_path, server)
    group = tmp_path / "root" / "platform"
    assert (group / (group / "active").read_text()).read_bytes() == b"two"
