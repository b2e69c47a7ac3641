"""The boot stage: which release a program becomes, and that it always becomes something."""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from boardwright.boot.release import VARIABLE, Boot, boot_again, boot_of, named, told
from boardwright.boot.stage import AGENT, SERVER, START_LIMIT, Machine, enter, followed
from boardwright.boot.trial import DEADLINE, STARTS, Moment, Trial, left, read_trial, start, write_trial

ONE, TWO = f"1.0-{'a' * 12}", f"2.0-{'b' * 12}"
LOADER = ("/usr/bin/python3", "/usr/bin/boardwright-agent")


class Process:
    """A process that records what the stage does to it; `refused` releases cannot be executed."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.tried: list[str] = []
        self.alarms: list[int] = []
        self.said = ""
        self.became: Boot | None = None
        self.seconds = 100.0
        self.machine = Machine(self._execve, self.alarms.append, lambda: Moment("boot-1", self.seconds), self._say)

    def enter(self, program: str, path: Path, environ: Mapping[str, str] = {}) -> Boot:
        """What runs after the stage."""
        told_now = enter(program, ["--config", str(path)], LOADER, environ, self.machine)
        return self.became or told_now

    def _execve(self, path: str, words: Sequence[str], environ: Mapping[str, str]) -> None:
        assert words[0] == path
        name = Path(path).parents[1].name
        self.tried.append(name)
        if name in self.refused:
            raise OSError(errno.ENOEXEC, "Exec format error", path)
        self.became = boot_of(environ, os.getpid())

    def _say(self, sentence: str) -> None:
        self.said += sentence


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """server.toml of a board with the releases 1.0 and 2.0, none in use."""
    for name in (ONE, TWO):
        (tmp_path / "root/boardwright/versions" / name).mkdir(parents=True)
    path = tmp_path / "server.toml"
    path.write_text('[server]\nrelease = "root/boardwright"\n')
    return path


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """agent.toml of such a board."""
    for name in (ONE, TWO):
        (tmp_path / "root/boardwright-agent/versions" / name).mkdir(parents=True)
    path = tmp_path / "agent.toml"
    path.write_text('[board]\ngroups = ["platform", "boardwright-agent"]\n[agent]\nroot = "root"\n')
    return path


def use(path: Path, name: str) -> Path:
    """Point the link of that program's group to the release; answers the group's directory."""
    directory = path.parent / "root" / ("boardwright" if path.name == "server.toml" else "boardwright-agent")
    (directory / "current").unlink(missing_ok=True)
    if name:
        (directory / "current").symlink_to(f"versions/{name}")
    return directory


class TestAServer:
    def test_becomes_the_release_that_the_link_names_with_an_alarm_for_its_start(self, server: Path) -> None:
        directory, process = use(server, ONE), Process()
        boot = process.enter(SERVER, server)
        assert (boot.entered, boot.seen, boot.version) == (ONE, ONE, "1.0")
        assert (boot.command, boot.directory) == (LOADER, str(directory))
        assert process.alarms[:2] == [0, START_LIMIT]

    def test_goes_on_as_the_installed_program_without_a_release(self, server: Path) -> None:
        for text in (server.read_text(), "[server]\n", "= not TOML", ""):
            server.write_text(text)
            process = Process()
            boot = process.enter(SERVER, server)
            assert (boot.entered, boot.seen, process.tried) == ("", "", [])
            assert not boot.moved()

    def test_goes_on_as_the_installed_program_if_the_release_cannot_be_started_and_does_not_try_again(
        self, server: Path
    ) -> None:
        use(server, TWO)
        process = Process(TWO)
        boot = process.enter(SERVER, server)
        assert (boot.entered, boot.seen) == ("", TWO)
        assert process.said.startswith(f"boardwright-server: the release {TWO} cannot be started: ")
        assert process.alarms[-1] == 0
        assert not boot.moved()
        use(server, ONE)
        assert boot.moved()

    def test_in_a_release_enters_no_other_one(self, server: Path) -> None:
        use(server, TWO)
        environ = {VARIABLE: told(Boot(os.getpid(), LOADER, str(server.parent), ONE, ONE))}
        process = Process()
        assert process.enter(SERVER, server, environ).entered == ONE
        assert process.tried == []

    def test_does_not_take_what_another_process_was_told_for_its_own(self, server: Path) -> None:
        use(server, TWO)
        environ = {VARIABLE: told(Boot(os.getpid() + 1, LOADER, "", ONE, ONE))}
        assert Process().enter(SERVER, server, environ).entered == TWO

    @pytest.mark.parametrize("target", ["/etc", "versions/../../x", "versions", "other/1.0-aaaaaaaaaaaa", "versions/x"])
    def test_follows_no_link_that_no_installer_made(self, server: Path, target: str) -> None:
        directory = use(server, "")
        (directory / "current").symlink_to(target)
        process = Process()
        assert (process.enter(SERVER, server).entered, process.tried) == ("", [])

    def test_is_told_by_its_configuration_and_the_drop_ins_whom_it_follows(self, server: Path, tmp_path: Path) -> None:
        assert followed(SERVER, ["--config", str(server)]) == tmp_path / "root/boardwright"
        assert followed(SERVER, [f"--config={server}", "--log-level", "info"]) == tmp_path / "root/boardwright"
        drop_ins = tmp_path / "server.toml.d"
        drop_ins.mkdir()
        (drop_ins / "a.toml").write_text("= broken")
        (drop_ins / "b.toml").write_text('[server]\nrelease = "/srv/release"\n')
        assert followed(SERVER, ["--config", str(server)]) == Path("/srv/release")
        assert followed(SERVER, []) is None
        assert followed(SERVER, ["--config", str(tmp_path / "missing.toml")]) is None


class TestAnAgent:
    def test_follows_its_own_group_if_its_board_runs_it(self, agent: Path, tmp_path: Path) -> None:
        assert followed(AGENT, ["--config", str(agent)]) == tmp_path / "root/boardwright-agent"
        agent.write_text('[board]\ngroups = ["boardwright-agent"]\n')
        assert followed(AGENT, ["--config", str(agent)]) == Path("/opt/boardwright/boardwright-agent")
        agent.write_text('[board]\ngroups = ["platform"]\n[agent]\nroot = "root"\n')
        assert followed(AGENT, ["--config", str(agent)]) is None

    def test_enters_a_confirmed_release_without_a_guard(self, agent: Path) -> None:
        directory, process = use(agent, ONE), Process()
        write_trial(directory, Trial(confirmed=ONE))
        assert process.enter(AGENT, agent).entered == ONE
        assert process.alarms == [0]
        assert read_trial(directory) == Trial(confirmed=ONE)

    def test_enters_one_on_trial_counted_and_with_an_alarm_and_goes_back_after_three(self, agent: Path) -> None:
        directory = use(agent, TWO)
        write_trial(directory, Trial(confirmed=ONE))
        for number in range(1, STARTS + 1):
            process = Process()
            assert process.enter(AGENT, agent).entered == TWO
            assert process.alarms == [0, DEADLINE]
            assert read_trial(directory).starts == number
        process = Process()
        boot = process.enter(AGENT, agent)
        assert (boot.entered, boot.seen, named(directory)) == (ONE, ONE, ONE)
        assert read_trial(directory).fallen == TWO
        assert "3 times" in read_trial(directory).reason
        assert process.alarms == [0]

    def test_goes_back_after_the_deadline_whatever_the_starts(self, agent: Path) -> None:
        directory = use(agent, TWO)
        Process().enter(AGENT, agent)
        process = Process()
        process.seconds += DEADLINE - 10
        assert process.enter(AGENT, agent).entered == TWO
        assert process.alarms == [0, 10]
        process = Process()
        process.seconds += DEADLINE
        assert (process.enter(AGENT, agent).entered, named(directory)) == ("", "")

    def test_goes_back_at_once_from_one_that_cannot_be_started(self, agent: Path) -> None:
        directory, process = use(agent, TWO), Process(TWO)
        write_trial(directory, Trial(confirmed=ONE))
        assert process.enter(AGENT, agent).entered == ONE
        assert process.tried == [TWO, ONE]
        assert read_trial(directory).fallen == TWO
        assert process.alarms[-1] == 0

    def test_runs_as_the_installed_program_if_nothing_can_be_started(self, agent: Path) -> None:
        directory, process = use(agent, TWO), Process(ONE, TWO)
        write_trial(directory, Trial(confirmed=ONE))
        boot = process.enter(AGENT, agent)
        assert (boot.entered, boot.moved()) == ("", False)

    def test_finds_the_verdict_of_a_start_that_was_cut_off_and_finishes_it(self, agent: Path) -> None:
        directory, process = use(agent, TWO), Process()
        write_trial(directory, Trial(confirmed=ONE).fall(TWO, "it hung"))
        assert process.enter(AGENT, agent).entered == ONE
        assert process.tried == [ONE]
        assert named(directory) == ONE

    def test_does_not_enter_what_it_cannot_count(self, agent: Path) -> None:
        directory, process = use(agent, TWO), Process()
        write_trial(directory, Trial(confirmed=ONE))
        (directory / ".trial.json.new").mkdir()  # in the way of what is written beside it
        boot = process.enter(AGENT, agent)
        assert (boot.entered, boot.seen, boot.moved()) == (ONE, TWO, False)
        assert "takes no start" in process.said


WILD = b'{"first": ["b", 1], "confirmed": "", "release": "", "starts": 1e999, "fallen": "", "reason": ""}'


class TestATrial:
    def test_of_what_was_started_before_the_machine_was_counts_its_starts_alone(self) -> None:
        trial, name = start(Trial(), TWO, Moment("boot-1", 500.0))
        again, name = start(trial, TWO, Moment("boot-2", 5000.0))
        assert (again.starts, name) == (2, TWO)
        assert left(again, Moment("boot-2", 5000.0)) == DEADLINE
        assert left(again, Moment("boot-1", 9000.0)) == 1

    def test_begins_anew_with_another_release_and_with_a_clean_slate(self) -> None:
        fallen = Trial(confirmed=ONE).fall(TWO, "x" * 10_000)
        assert start(fallen, TWO, Moment("b", 0.0))[1] == ONE
        assert start(fallen.begin(), TWO, Moment("b", 0.0))[1] == TWO
        assert len(fallen.reason) <= 300

    @pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"first": 3}', b"\xff", b"[" * 100_000, WILD])
    def test_whose_file_cannot_be_read_is_an_empty_one(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "trial.json").write_bytes(data)
        assert read_trial(tmp_path) == Trial()

    def test_survives_its_file(self, tmp_path: Path) -> None:
        trial = Trial(ONE, TWO, 2, Moment("boot-1", 3.5), TWO, "it hung")
        write_trial(tmp_path, trial)
        assert read_trial(tmp_path) == trial


@pytest.mark.parametrize("said", ["", "{}", "[]", "3", '{"pid": 1}', "[" * 100_000, '{"pid": 1e999, "command": []}'])
def test_what_no_stage_has_said_says_nothing(said: str) -> None:
    assert boot_of({VARIABLE: said}, 1) is None


def test_to_boot_again_leaves_the_variable_out(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[object] = []
    monkeypatch.setattr(os, "execve", lambda *words: became.extend(words))
    boot_again(Boot(1, LOADER), {VARIABLE: "x", "PATH": "/bin"})
    assert became == [LOADER[0], LOADER, {"PATH": "/bin"}]
