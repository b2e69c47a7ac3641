"""The agent's own upgrade with the real program: the boot stage, releases that are good, sick and gone."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

from boardwright.boot.names import AGENT_GROUP, SERVER_GROUP
from boardwright.boot.trial import DEADLINE, Moment, Trial, read_trial, write_trial
from boardwright.model.report import DeploymentState, GroupReport
from tests.integration.agent.lab import LabServer, Software, plan, servers
from tests.integration.agent.test_agent_process import answering, config, until

GOOD = f'exec {sys.executable} -m boardwright.agent.program "$@"'


def release(version: str, program: str = GOOD) -> Software:
    """A stand-in of a release of the agent: this very code, or another program."""
    return Software(version, {"bin/boardwright-agent": f"#!/bin/sh\n{program}\n".encode()}, group=AGENT_GROUP)


class Supervised:
    """The installed agent, started again whenever it ends, as a service manager does."""

    def __init__(self, path: Path) -> None:
        self.pids: list[int] = []
        self.log = path.with_name("log")
        self._command = [str(Path(sys.executable).parent / "boardwright-agent"), "--config", str(path)]
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            with self.log.open("ab") as log:
                process = await asyncio.create_subprocess_exec(*self._command, stderr=log)
            self.pids.append(process.pid)
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    def runs(self) -> str:
        """The command line of the process at this moment."""
        try:
            return Path(f"/proc/{self.pids[-1]}/cmdline").read_text()
        except (OSError, IndexError):
            return ""

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def config_of(tmp_path: Path, server: LabServer) -> Path:
    path = config(tmp_path, server)
    text = path.read_text().replace('["platform"]', f'["platform", "{SERVER_GROUP}", "{AGENT_GROUP}"]')
    path.write_text(text.replace("[agent]", '[agent]\nperiod = "1s"'))  # nobody announces plans here
    return path


def said(server: LabServer, group: str = AGENT_GROUP) -> GroupReport:
    return server.reports[-1].groups.get(group, GroupReport()) if server.reports else GroupReport()


def test_the_agent_becomes_its_release_proves_itself_goes_back_from_a_broken_one_and_to_the_installed_one(
    tmp_path: Path,
) -> None:
    async def main(server: LabServer) -> None:
        async with answering(server):
            agent = Supervised(config_of(tmp_path, server))
            try:
                await until(lambda: bool(server.reports))
                assert "boardwright.agent.program" not in agent.runs()

                plan(1, release("1.0"), on=(server,))
                await until(lambda: (said(server).version, said(server).state) == ("1.0", DeploymentState.CONFIRMED))
                assert len(agent.pids) == 1  # the same process all the time
                assert "boardwright.agent.program" in agent.runs()

                plan(2, release("2.0", "exit 1"), on=(server,))
                await until(lambda: said(server).state is DeploymentState.FAILED)
                assert said(server).version == "1.0"
                assert said(server).reason == ("rolled back to 1.0: it was started 3 times and did not prove itself")
                assert len(agent.pids) == 4
                assert "boardwright.agent.program" in agent.runs()

                plan(3, Software("1", {"motd": b"1"}), on=(server,))
                await until(lambda: said(server).version is None and said(server).state is DeploymentState.IDLE)
                await until(lambda: "boardwright.agent.program" not in agent.runs())
                assert not (tmp_path / "root" / AGENT_GROUP / "current").exists()
                assert len(agent.pids) == 4
            except BaseException:
                print(agent.log.read_text())  # noqa: T201
                raise
            finally:
                await agent.stop()

    with servers(LabServer("c1s1", "1", "1")) as (server,):
        asyncio.run(main(server))


def test_the_boot_stage_s_alarm_ends_a_release_that_hangs(tmp_path: Path) -> None:
    """alarm(2): it lasts over exec, and what is entered has not asked for anything else."""
    path = tmp_path / "agent.toml"
    path.write_text(f'[board]\ngroups = ["{AGENT_GROUP}"]\n[agent]\nroot = "root"\n')
    name = f"1.0-{'a' * 12}"
    program = tmp_path / "root" / AGENT_GROUP / "versions" / name / "bin/boardwright-agent"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    (tmp_path / "root" / AGENT_GROUP / "current").symlink_to(f"versions/{name}")
    since = (Path("/proc/sys/kernel/random/boot_id").read_text().strip(), time.clock_gettime(time.CLOCK_BOOTTIME))
    # It was started almost too long ago: a second is left to it.
    begun = Trial(release=name, starts=1, first=Moment(since[0], since[1] - DEADLINE + 1.5))
    write_trial(tmp_path / "root" / AGENT_GROUP, begun)
    command = [Path(sys.executable).parent / "boardwright-agent", "--config", path]
    assert subprocess.run(command, check=False, timeout=20).returncode == -signal.SIGALRM
    assert read_trial(tmp_path / "root" / AGENT_GROUP).starts == 2
