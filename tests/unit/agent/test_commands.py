"""Programs of users that misbehave: real processes, each bounded in time, memory and in what it leaves behind."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from boardwright.agent import commands
from boardwright.agent.commands import TAIL, CommandResult, environment, plain, run_command

ENV = environment({"PATH": "/usr/bin:/bin"}, {})


def run(tree: Path, *argv: str, timeout: float = 20.0, stop: threading.Event | None = None) -> CommandResult:
    return run_command(argv, cwd=tree, env=ENV, timeout=timeout, stop=stop or threading.Event())


def script(tree: Path, text: str, first: str = "#!/bin/sh") -> str:
    path = tree / "program"
    path.write_text(f"{first}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def ended(pid: str) -> bool:
    """Whether the process is gone within five seconds, or a zombie of somebody else."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_GRACE", 0.2)


class TestAProgramThatCannotBeStarted:
    def test_because_it_does_not_exist(self, tmp_path: Path) -> None:
        assert run(tmp_path, f"{tmp_path}/none").problem == "could not be started: No such file or directory"
        assert run(tmp_path, "no-such-word").problem == "could not be started: No such file or directory"

    def test_because_it_is_not_executable(self, tmp_path: Path) -> None:
        program = script(tmp_path, "exit 0")
        Path(program).chmod(0o644)
        assert run(tmp_path, program).problem == "could not be started: it is not executable"

    def test_because_it_is_a_directory(self, tmp_path: Path) -> None:
        assert run(tmp_path, str(tmp_path)).problem == "could not be started: it is a directory"

    @pytest.mark.parametrize(
        ("first", "said"), [("#!/nonexistent/sh -e", "'/nonexistent/sh'"), ("#!/bin/sh\r", r"'/bin/sh\r'")]
    )
    def test_because_its_interpreter_is_missing(self, tmp_path: Path, first: str, said: str) -> None:
        problem = run(tmp_path, script(tmp_path, "exit 0", first)).problem
        assert problem == f"could not be started: its interpreter {said} is missing"

    def test_because_its_loader_is_missing(self, tmp_path: Path) -> None:
        image = bytearray(Path(shutil.which("true") or "/bin/true").read_bytes())
        at = image.find(b"/lib64/ld-") if b"/lib64/ld-" in image else image.find(b"/lib/ld-")
        image[at + 1 : at + 4] = b"xxx"
        program = tmp_path / "program"
        program.write_bytes(image)
        program.chmod(0o755)
        assert run(tmp_path, str(program)).problem == "could not be started: its program loader is missing"

    @pytest.mark.parametrize("content", [b"\x7fELF\x01\x02\x01" + bytes(60), b"echo no first line\n"])
    def test_because_it_is_for_another_processor_or_has_no_first_line(self, tmp_path: Path, content: bytes) -> None:
        program = tmp_path / "program"
        program.write_bytes(content)
        program.chmod(0o755)
        assert "no program for this board (built for another processor" in run(tmp_path, str(program)).problem

    def test_because_its_directory_is_gone(self, tmp_path: Path) -> None:
        assert (
            run(tmp_path / "gone", "true").problem == f"could not be started: its directory {tmp_path}/gone is missing"
        )

    def test_because_an_argument_is_none(self, tmp_path: Path) -> None:
        assert run(tmp_path, "true", "a\0b").problem == "could not be started: embedded null byte"

    def test_leaves_no_open_files_behind(self, tmp_path: Path) -> None:
        run(tmp_path, "true")
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(20):
            run(tmp_path, "no-such-word")
            run(tmp_path, "true")
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


class TestAProgramThatDoesNotEnd:
    def test_may_clean_up_first(self, tmp_path: Path) -> None:
        program = script(tmp_path, "trap 'echo unlocked; exit 0' TERM\necho locked\nwhile :; do sleep 0.05; done")
        result = run(tmp_path, program, timeout=0.5)
        assert result.problem == "took longer than 0.5 s"
        assert result.tail.endswith("unlocked\n")

    def test_is_killed_if_it_ignores_that(self, tmp_path: Path) -> None:
        program = script(tmp_path, "trap '' TERM HUP INT\necho $$\nwhile :; do sleep 0.05; done")
        result = run(tmp_path, program, timeout=0.3)
        assert result.problem == "took longer than 0.3 s"
        assert ended(result.tail.strip())

    def test_is_killed_with_what_has_left_its_group_and_session(self, tmp_path: Path) -> None:
        program = script(tmp_path, "setsid sh -c 'echo $$ > child; setsid sleep 1000 & exec sleep 1000' &\nsleep 1000")
        result = run(tmp_path, program, timeout=1.0)
        assert result.problem == "took longer than 1 s"
        assert ended((tmp_path / "child").read_text().strip())

    def test_is_killed_with_a_tree_of_children(self, tmp_path: Path) -> None:
        pair = "(sleep 1000 & echo $!; sleep 1000 & echo $!; wait) &"
        program = script(tmp_path, f"for i in 1 2 3 4; do {pair} done; wait")
        result = run(tmp_path, program, timeout=0.5)
        assert result.problem == "took longer than 0.5 s"
        children = [line for line in result.tail.split() if line.isdecimal()]
        assert len(children) == 8
        assert all(ended(child) for child in children)

    def test_is_stopped_when_the_agent_ends(self, tmp_path: Path) -> None:
        stop = threading.Event()
        threading.Timer(0.2, stop.set).start()
        begun = time.monotonic()
        assert run(tmp_path, "sleep", "1000", stop=stop).problem == "was stopped"
        assert time.monotonic() - begun < 10

    def test_may_have_closed_its_output(self, tmp_path: Path) -> None:
        program = script(tmp_path, "echo begun\nexec >&- 2>&-\nsleep 1000")
        assert run(tmp_path, program, timeout=0.3) == CommandResult("took longer than 0.3 s", "begun\n")


class TestADaemonThatIsLeftBehind:
    def test_lives_on_and_does_not_hold_the_agent_up(self, tmp_path: Path) -> None:
        program = script(tmp_path, "setsid sleep 30 &\necho $!\nexit 0")
        begun = time.monotonic()
        result = run(tmp_path, program)
        assert result.ok
        assert time.monotonic() - begun < 10
        os.kill(int(result.tail), signal.SIGKILL)  # raises if it is gone

    def test_that_talks_without_end_is_not_listened_to_for_ever(self, tmp_path: Path) -> None:
        program = script(tmp_path, "yes &\nexit 0")
        begun = time.monotonic()
        assert run(tmp_path, program).ok
        assert time.monotonic() - begun < 10


class TestOutput:
    def test_of_gigabytes_costs_time_but_no_memory(self, tmp_path: Path) -> None:
        result = run(tmp_path, "sh", "-c", "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo the end")
        assert result.ok
        assert len(result.tail) == TAIL
        assert result.tail.endswith("x\nthe end\n")

    def test_without_end_is_ended_at_the_time_limit(self, tmp_path: Path) -> None:
        result = run(tmp_path, "yes", "again", timeout=0.3)
        assert result.problem == "took longer than 0.3 s"
        assert "again\nagain\n" in result.tail

    def test_what_was_cut_begins_with_a_whole_line(self, tmp_path: Path) -> None:
        program = script(tmp_path, r"yes $(printf '\033[31mred') | head -n 5000")
        lines = set(run(tmp_path, program).tail.splitlines())
        assert lines == {"red"}

    def test_without_a_last_line_end_is_kept(self, tmp_path: Path) -> None:
        assert run(tmp_path, "printf", "no end").tail == "no end"

    def test_that_is_no_text_is_shown_as_far_as_it_is(self, tmp_path: Path) -> None:
        assert run(tmp_path, "printf", r"a\377\000b\n").tail == "a\N{REPLACEMENT CHARACTER}b\n"

    @pytest.mark.parametrize(
        ("said", "shown"),
        [
            ("\x1b[2J\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07text", "text"),
            ("\x1b]52;c;aGk=\x1b\\text", "text"),
            ("10%\r20%\r\ndone\n", "10%\n20%\ndone\n"),
            ("a\x00\x07\x08\x7f\x9bb\tc", "ab\tc"),
            ("user\u202egnp.exe", "usergnp.exe"),
            ("Grüße\n", "Grüße\n"),
        ],
    )
    def test_cannot_play_with_the_terminal_of_who_reads_it(self, said: str, shown: str) -> None:
        assert plain(said) == shown

    def test_of_both_kinds_is_kept_in_order(self, tmp_path: Path) -> None:
        assert run(tmp_path, "sh", "-c", "echo one; echo two >&2; echo three").tail == "one\ntwo\nthree\n"


class TestAProgram:
    def test_reads_nothing_from_the_agents_input(self, tmp_path: Path) -> None:
        assert run(tmp_path, "sh", "-c", "cat; echo over").tail == "over\n"

    @pytest.mark.parametrize(("name", "said"), [("SEGV", "SIGSEGV"), ("ABRT", "SIGABRT"), ("KILL", "SIGKILL")])
    def test_that_crashes_is_named_by_its_signal(self, tmp_path: Path, name: str, said: str) -> None:
        assert run(tmp_path, "sh", "-c", f"ulimit -c 0; kill -{name} $$").problem == f"was ended by {said}"

    def test_that_changes_its_directory_changes_nobody_elses(self, tmp_path: Path) -> None:
        here = Path.cwd()
        assert run(tmp_path, "sh", "-c", "cd / && pwd").tail == "/\n"
        assert Path.cwd() == here
