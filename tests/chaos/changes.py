"""An operator who goes on changing things, through whichever server: publishes small versions and deploys them.

Rules:

* A deployment is sent once: to a server by chance, and where that one redirects to. What it answered is its outcome;
  503 and every refusal are answers that nothing was done, a line that breaks or hangs is "unknown".
* A publish is the commands' own: it repeats what may be repeated.
* A version goes to each set of selectors at most once, so that every rollout has one call that it can be of.
"""

import hashlib
import random
import threading
import time
from pathlib import Path

import msgspec

from boardwright.cli.passphrase import unlocked
from boardwright.cli.publishing import pack_for, send
from boardwright.cli.signing import signing
from boardwright.errors import BoardwrightError
from boardwright.model.api import Deployment, DeploymentRequest, Problem
from boardwright.model.software import digest_of
from boardwright.net.servers import REDIRECT, Answer, Call, Servers
from boardwright.transfer.options import SoftwareOptions
from tests.chaos.cluster import ChaosCluster
from tests.chaos.history import GROUP, Answered, Deployed, Published
from tests.chaos.watching import Notebook

PAUSE = (0.3, 1.2)  # seconds between two changes
SIZE = 300_000  # bytes of a version


class Operator:
    """Makes changes by chance, from `rng`; one thread."""

    def __init__(self, cluster: ChaosCluster, rng: random.Random, note: Notebook) -> None:
        self._cluster, self._rng, self._note = cluster, rng, note
        self._client = cluster.client()
        self._servers = Servers(cluster.bases, cluster.lines(), cluster=cluster.name)
        self._call = 0
        self._known: list[str] = []  # versions that were acknowledged
        self._used: set[tuple[str, tuple[str, ...]]] = set()

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(self._rng.uniform(*PAUSE)):
            if self._rng.random() < 0.4 or not self._known:
                self.publish()
            else:
                self.deploy(self._rng.choice(self._known[-2:]), self._selectors())

    def publish(self) -> str:
        """The outcome; the version is the next number."""
        self._call += 1
        call, version = self._call, str(self._call)
        software = self._cluster.directory / "software" / version
        software.mkdir(parents=True)
        data = self._rng.randbytes(SIZE)
        (software / "data").write_bytes(data)
        (software / "version").write_text(version)
        work = self._cluster.directory / "work" / version
        work.mkdir(parents=True)
        try:
            shipment = pack_for(self._client, software, SoftwareOptions(group=GROUP, version=version), Path(work))
        except BoardwrightError:
            return "unknown"  # nothing was sent
        manifest, content = digest_of(shipment.manifest), hashlib.sha256(data).hexdigest()
        self._note(Published(self._note.now(), call, version, manifest, content))
        outcome, said = "ok", ""
        try:
            send(self._client, shipment, signing(self._cluster.operator, unlocked, time.time), lambda _: None)
            self._known.append(version)
        except BoardwrightError as error:
            outcome, said = "unknown", str(error)  # it was repeated: the first time may have been it
        self._note(Answered(self._note.now(), call, outcome, said=said))
        return outcome

    def deploy(self, version: str, selectors: tuple[str, ...]) -> str:
        """The outcome; '' if that was deployed already."""
        if (version, selectors) in self._used:
            return ""
        self._used.add((version, selectors))
        self._call += 1
        call = self._call
        self._note(Deployed(self._note.now(), call, version, selectors))
        answered = self._sent(call, DeploymentRequest(GROUP, version, selectors))
        self._note(answered)
        return answered.outcome

    def newest(self) -> str:
        return self._known[-1]

    def close(self) -> None:
        self._servers.close()
        with self._client:
            pass  # its lines are closed

    def _sent(self, call: int, request: DeploymentRequest) -> Answered:
        asked = Call("POST", "/v1/deployments", msgspec.json.encode(request))
        try:
            answer = self._servers.ask_at(self._rng.choice(self._cluster.bases), asked)
            for _ in range(2):
                if answer.status == REDIRECT:
                    answer = self._servers.ask_at(answer.data.decode(), asked)
        except BoardwrightError as error:
            return Answered(self._note.now(), call, "unknown", said=f"{error}: {error.__cause__}")
        return self._read(call, answer)

    def _read(self, call: int, answer: Answer) -> Answered:
        if answer.status in (200, 201):
            done = msgspec.json.decode(answer.data, type=Deployment)
            return Answered(self._note.now(), call, "ok", done.rollout or "", done.generation)
        if answer.status == REDIRECT:
            return Answered(self._note.now(), call, "refused", said="redirected in circles")
        try:
            said = msgspec.json.decode(answer.data, type=Problem).error
        except msgspec.DecodeError:
            said = repr(answer.data[:200])
        # Trouble with the engine is 5xx: nobody knows whether the commit took effect.
        outcome = "unknown" if answer.status >= 500 else "refused"
        return Answered(self._note.now(), call, outcome, said=f"{answer.status} {said}")

    def _selectors(self) -> tuple[str, ...]:
        boards = self._cluster.boards
        one = self._rng.choice(boards)
        return self._rng.choice([
            (),
            (f"chassis={one.chassis}",),
            (f"type={one.type}",),
            (f"slot={one.slot}",),
            (f"chassis={one.chassis},type={one.type}",),
            tuple(sorted(f"board={other.board}" for other in self._rng.sample(boards, 3))),
        ])  # fmt: skip
