"""The agent's own upgrade in virtual time on real files: boot stage, trial, and releases that work or do not.

A board's agent is a chain of processes: each begins at the boot stage, which enters a release or goes on as the
installed program, and ends because another release is to run, because it dies, or because an alarm kills it. Somebody
starts it again, always.
"""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from boardwright.agent import deployment as d
from boardwright.agent.deployment import Event
from boardwright.agent.own_release import OwnRelease
from boardwright.agent.ports import Hands
from boardwright.boot.names import AGENT_GROUP
from boardwright.boot.release import VARIABLE, Boot, boot_of
from boardwright.boot.stage import AGENT, Machine, enter
from boardwright.boot.trial import Moment
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.report import DeploymentState
from boardwright.model.software import Target
from tests.faults.board import Life, Server
from tests.faults.versions import Made

BOARD = Board("c1s3", Location("1", "3"), "lc", (AGENT_GROUP,))
GOOD, DIES, HANGS, MUTE, BROKEN = "works", "dies", "hangs", "says nothing", "cannot be started"
SLICE = 5.0  # virtual seconds between looks at what no event tells
STARTS = 12  # of processes until an agent must have settled: three of a broken release, and some that exec


def made(version: str) -> Made:
    """A small release of the agent."""
    script = f"#!/bin/sh\n# {version}\n".encode()
    return Made(version, {"bin/boardwright-agent": script}, {"etc/name": version.encode()}, group=AGENT_GROUP)


class EnteredError(Exception):
    """The process became a release."""

    def __init__(self, boot: Boot) -> None:
        super().__init__(boot.entered)
        self.boot = boot


class AgentLife(Life):
    """A working agent; `boot` is what the stage told it, `mute`: no server ever takes its word."""

    board = BOARD

    def __init__(self, directory: Path, server: Server, start: str, told: Boot, *, now: float, mute: bool) -> None:
        self._told, self._mute, self.alarm_off = told, mute, False
        super().__init__(directory, server, start, now=now)
        self.own.resumed(self.driver.groups.get(AGENT_GROUP))

    def hands(self) -> Hands:
        self.own = OwnRelease(self.deployer, self.root, self._told, self._post_own, self._disarm)
        return self.own

    def fallen(self, target: Target) -> str:
        return self.own.fallen(target)

    def post(self, group: str, event: Event) -> None:
        self._later(lambda: self.driver.happened(group, self.own.heard(group, event), self.now))

    def _post_own(self, group: str, event: Event) -> None:
        self.post(group, event)

    def _disarm(self) -> None:
        self.alarm_off = True

    def go(self, seconds: float) -> bool:
        """Live for so long, or until another release is to run (True), or all is done and quiet."""
        end = self.now + seconds

        def another() -> bool:
            return self.own.due(self.driver.groups.get(AGENT_GROUP))

        while self.now < end:
            if not self._mute and self.driver.plan is not None:
                with self._around(self._boot):
                    self.own.proved()
            if self.run(min(SLICE, end - self.now), another):
                return True
            with self._around(self._boot):
                self.own.wake(self.now)
            if self.quiet():
                return False
        return False

    def quiet(self) -> bool:
        group = self.driver.groups[AGENT_GROUP]
        return (
            self.driver.plan is not None
            and self.driver.settled
            and not self.driver._pending
            and not self._queue
            and group.phase.deadline is None
            and not isinstance(group.phase, d.Probing)
        )


class Chain:
    """The board's agent and whoever starts it again; `kinds` says of each version how its agent behaves."""

    def __init__(self, directory: Path, server: Server, start: str, kinds: Mapping[str, str]) -> None:
        self.directory, self.server, self.start, self.kinds = directory, server, start, kinds
        self.now = 100.0
        self.said: list[str] = []
        self.processes: list[str] = []  # what they were: a version, or "" for the installed program
        self.life: AgentLife | None = None

    def run(self, seconds: float) -> str:
        """Until an agent has lived for so long or has nothing left to do; which release it is, '' the installed one."""
        while True:
            assert len(self.processes) < STARTS, f"no agent settles: {self.processes}, {self.said}"
            boot, alarm = self._boot()
            version = boot.version
            self.processes.append(version)
            kind = self.kinds.get(version, GOOD)
            self.now += 1.0
            if kind == DIES:
                continue
            if kind == HANGS:
                assert alarm, f"{version} hangs and nobody ends it"
                self.now += alarm
                continue
            life = AgentLife(self.directory, self.server, self.start, boot, now=self.now, mute=kind == MUTE)
            limit = min(seconds, alarm) if alarm and not life.alarm_off else seconds
            again = life.go(limit)
            self.now = life.now
            if again:
                continue
            if limit < seconds and not life.alarm_off and not life.quiet():
                continue  # the alarm ended it
            self.life = life
            return version

    def state(self) -> tuple[DeploymentState, str]:
        assert self.life is not None
        group = self.life.driver.groups[AGENT_GROUP]
        return group.state, str(getattr(group.phase, "reason", ""))

    def _boot(self) -> tuple[Boot, int]:
        alarms: list[int] = []

        def execve(path: str, words: Sequence[str], environ: Mapping[str, str]) -> None:
            del words
            boot = boot_of(environ, int(environ["PID"]))
            assert boot is not None
            if not Path(path).is_file():
                raise FileNotFoundError(errno.ENOENT, "No such file", path)
            if self.kinds.get(boot.version) == BROKEN:
                raise OSError(errno.ENOEXEC, "Exec format error", path)
            raise EnteredError(boot)

        machine = Machine(execve, alarms.append, lambda: Moment(self.start, self.now), self.said.append)
        arguments = ["--config", str(self.directory / "agent.toml")]
        environ = {"PID": str(_pid())}
        assert VARIABLE not in environ
        try:
            boot = enter(AGENT, arguments, ("loader",), environ, machine)
        except EnteredError as entered:
            boot = entered.boot
        return boot, alarms[-1]


def _pid() -> int:
    return os.getpid()


def prepared(directory: Path) -> None:
    """A board with nothing but its configuration and the installed program."""
    directory.mkdir()
    (directory / "root").mkdir()
    (directory / "state").mkdir()
    (directory / "agent.toml").write_text(f'[board]\ngroups = ["{AGENT_GROUP}"]\n[agent]\nroot = "root"\n')
