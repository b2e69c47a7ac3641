"""`boardwright install-units`: systemd runs what has a configuration here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from boardwright.cli.init import init
from boardwright.cli.install_units import UNITS, plan_units
from boardwright.cli.program import run
from boardwright.cli.session import Session

INVENTORY = """
[cluster]
name = "core1"
interface = "eth1"
[[board]]
id = "c1s1"
chassis = "1"
slot = "1"
type = "rp"
address = "10.0.1.1"
server = true
groups = ["platform"]
[[board]]
id = "c1s3"
chassis = "1"
slot = "3"
type = "lc"
address = "10.0.1.3"
groups = ["platform"]
"""
SERVER, AGENT = "boardwright-server.service", "boardwright-agent.service"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "cluster.toml").write_text(INVENTORY)
    init(tmp_path / "out", tmp_path / "cluster.toml")
    return tmp_path / "out"


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """The root of a control board's image, with its folder in /etc/boardwright."""
    shutil.copytree(made / "c1s1", tmp_path / "image/etc/boardwright")
    return tmp_path / "image"


def install(*arguments: str) -> int:
    return run(["install-units", *arguments], Session.of({}))


class TestInstalling:
    def test_a_control_board_gets_both_units_and_a_line_board_the_agent_s(
        self, made: Path, root: Path, tmp_path: Path
    ) -> None:
        assert install("--root", str(root)) == 0
        assert sorted(path.name for path in (root / UNITS).iterdir()) == [AGENT, SERVER]
        shutil.copytree(made / "c1s3", tmp_path / "line/etc/boardwright")
        assert install("--root", str(tmp_path / "line")) == 0
        assert [path.name for path in (tmp_path / "line" / UNITS).iterdir()] == [AGENT]

    def test_the_unit_names_the_paths_that_the_board_will_see(self, root: Path) -> None:
        install("--root", str(root))
        text = (root / UNITS / SERVER).read_text()
        assert "--config /etc/boardwright/server.toml\n" in text
        assert str(root) not in text
        assert "\nStateDirectory=boardwright/server\n" in text

    def test_a_data_directory_elsewhere_is_made_and_writable_for_the_walls_let_nobody_make_it(self, root: Path) -> None:
        config = root / "etc/boardwright/server.toml"
        config.write_text(config.read_text().replace("/var/lib/boardwright/server", "/data/bw"))
        (config.parent / "server.toml.d").mkdir()
        (config.parent / "server.toml.d/state.toml").write_text('[state]\nengine = "sqlite:/var/lib/bw-state/s.db"\n')
        assert install("--root", str(root)) == 0
        text = (root / UNITS / SERVER).read_text()
        assert "\nReadWritePaths=-/data/bw\n" in text
        assert "\nStateDirectory=bw-state\n" in text
        assert (root / "data/bw").stat().st_mode & 0o777 == 0o700

    def test_without_systemd_it_says_what_to_do(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        install("--root", str(root))
        ended = capsys.readouterr()
        assert f"systemctl daemon-reload && systemctl enable --now {SERVER} {AGENT}" in ended.err
        assert ended.out.splitlines() == [str(root / UNITS / SERVER), str(root / UNITS / AGENT)]

    def test_again_changes_nothing(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        install("--root", str(root))
        before = (root / UNITS / SERVER).stat()
        capsys.readouterr()
        assert install("--root", str(root)) == 0
        assert (root / UNITS / SERVER).stat().st_ino == before.st_ino
        assert capsys.readouterr().out.count("(unchanged)") == 2

    def test_a_dry_run_prints_and_changes_nothing(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert install("--root", str(root), "--dry-run") == 0
        assert not (root / UNITS).exists()
        assert capsys.readouterr().out.count("[Service]") == 2


class TestRefusing:
    def test_a_unit_that_was_changed_is_kept_and_nothing_is_written(
        self, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (root / UNITS).mkdir(parents=True)
        (root / UNITS / AGENT).write_text("mine")
        assert install("--root", str(root)) == 3
        assert f"{root / UNITS / AGENT} is there with another text, nothing was changed" in capsys.readouterr().err
        assert not (root / UNITS / SERVER).exists()
        assert (root / UNITS / AGENT).read_text() == "mine"

    def test_unless_it_is_forced(self, root: Path) -> None:
        (root / UNITS).mkdir(parents=True)
        (root / UNITS / AGENT).write_text("mine")
        assert install("--root", str(root), "--force") == 0
        assert "Type=notify" in (root / UNITS / AGENT).read_text()

    def test_no_configuration_is_wrong_usage(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert install("--config-dir", str(tmp_path)) == 2
        assert f"neither server.toml nor agent.toml is in {tmp_path}" in capsys.readouterr().err

    def test_a_data_directory_that_cannot_be_made_is_said_and_no_unit_is_written(
        self, root: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = root / "etc/boardwright/server.toml"
        config.write_text(config.read_text().replace("/var/lib/boardwright/server", "/data/bw"))
        (root / "data").write_text("a file")
        assert install("--root", str(root)) == 1
        assert f"the directory {root / 'data/bw'} of {SERVER} cannot be made" in capsys.readouterr().err
        assert not (root / UNITS).exists()

    def test_what_would_not_start_is_not_installed(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config = root / "etc/boardwright/server.toml"
        config.write_text(config.read_text().replace("[server]", "[server]\nlisten_to = 1"))
        assert install("--root", str(root)) == 2
        assert "listen_to" in capsys.readouterr().err
        assert not (root / UNITS).exists()


class TestTheText:
    def units(self, root: Path, program: str = "/opt/boardwright venv/bin/%n") -> dict[str, str]:
        return {unit.path.name: unit.text for unit in plan_units(Path("/etc/boardwright"), root, lambda name: program)}

    def test_odd_paths_are_quoted(self, root: Path) -> None:
        assert 'ExecStart="/opt/boardwright venv/bin/%%n" --config ' in self.units(root)[SERVER]

    def test_both_notify_are_watched_and_not_started_again_when_nothing_would_change(self, root: Path) -> None:
        for text in self.units(root).values():
            for line in ("Type=notify", "WatchdogSec=30", "Restart=always", "RestartPreventExitStatus=2 3"):
                assert f"\n{line}\n" in text

    def test_the_server_s_walls_leave_it_what_it_reads(self, root: Path) -> None:
        """The boot id (``/proc/sys``), IPv6 addresses (``/proc/net``), names of interfaces (netlink)."""
        server = self.units(root)[SERVER]
        assert "ProcSubset" not in server
        assert " AF_NETLINK" in server

    def test_what_was_deployed_outlives_the_agent_and_stands_behind_no_walls(self, root: Path) -> None:
        agent = self.units(root)[AGENT]
        assert "\nKillMode=process\n" in agent
        assert "Protect" not in agent
        assert "NoNewPrivileges" not in agent


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
class TestSystemd:
    def analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", *arguments]
        environ = {**os.environ, "LANG": "C"}
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environ)

    @pytest.fixture
    def paths(self, root: Path) -> dict[str, str]:
        install("--root", str(root))
        return {name: str(root / UNITS / name) for name in (SERVER, AGENT)}

    def test_takes_the_units_without_a_word(self, paths: dict[str, str]) -> None:
        for name, path in paths.items():
            ended = self.analyze("verify", "--recursive-errors=no", path)
            assert ended.returncode == 0
            assert not [line for line in ended.stderr.splitlines() if name in line]

    def test_finds_the_server_well_walled(self, paths: dict[str, str]) -> None:
        ended = self.analyze("security", "--offline=true", "--no-pager", "--threshold=25", paths[SERVER])
        assert ended.returncode == 0, ended.stdout[-2000:]
