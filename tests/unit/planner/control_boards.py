"""Control boards that upgrade themselves, step by step, without anything real."""

from boardwright.model.report import DeploymentState
from boardwright.planner.upgrade import HEALTHY, AgentView, ServerView

NEW = "2.0"


class ControlBoard:
    """A control board: its agent follows the plan step by step, its server the link."""

    def __init__(self, release: str, sick: bool) -> None:
        self.installed = self.release = self.planned = self.wanted = release
        self.state = DeploymentState.IDLE
        self.reason = ""
        self.sick = sick  # the new release does not get healthy here
        self.broken = False  # it did, and does not serve any more
        self.up = 0  # steps until the server is up
        self.dead = 0  # steps until the board is there again

    def step(self) -> None:
        """One step of agent and server."""
        if self.dead:
            self.dead -= 1
            self.up = 1
            return
        if self.up:
            self.up -= 1
            self.release = self.installed
            return
        if self.wanted != self.planned:
            self.wanted, self.state = self.planned, DeploymentState.DOWNLOADING
        elif self.state is DeploymentState.DOWNLOADING:
            self.before, self.installed, self.state = self.installed, self.planned, DeploymentState.PROBING
            self.up = 2
        elif self.state is DeploymentState.PROBING and self.sick and self.installed == NEW:
            self.installed, self.state, self.reason = self.before, DeploymentState.FAILED, "it was sick"
            self.up = 2
        elif self.state is DeploymentState.PROBING:
            self.state = DeploymentState.CONFIRMED

    def view(self) -> ServerView:
        agent = None if self.dead else AgentView(self.installed, self.wanted, self.state, self.reason)
        health = "silent" if self.dead or self.up or (self.broken and self.release == NEW) else HEALTHY
        return ServerView(health, self.release, knows=True, planned=self.planned, agent=agent)

    @property
    def serves(self) -> bool:
        return not (self.dead or self.up or (self.broken and self.release == NEW))
