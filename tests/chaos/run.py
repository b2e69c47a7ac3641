"""One chaos run: a cluster, faults by a seed, changes going on, everything healed, and what happened.

``python -m tests.chaos.run [SEED [FAULTS]]`` runs one and keeps its history and logs in /tmp/boardwright-chaos-SEED.
"""

import random
import shutil
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from boardwright.errors import BoardwrightError
from boardwright.state.kv import EngineError
from tests.chaos.changes import Operator
from tests.chaos.checker import check
from tests.chaos.cluster import FULL, ChaosCluster, Shape
from tests.chaos.faults import Fault, Hand, schedule
from tests.chaos.history import Died, FaultBegan, FaultEnded, Happening, Healed, Listed, Said, Seen, write
from tests.chaos.network import sweep
from tests.chaos.watching import Boards, Notebook, ask, committed, refetched

STARTING = 60.0  # seconds; everything starts at once on a machine that others use, too
BOUND = 45.0  # seconds to converge: a retry of a failed download comes within 30, a program starts within a few
STEP = 0.05  # seconds between looks at what is due
AGAIN = 1.0  # seconds until what ended by itself is started again, as the units say


class Run:
    """`faults` in a cluster of `shape` below `directory`; the history is complete when ``run`` returns."""

    def __init__(self, directory: Path, seed: int, faults: int, shape: Shape = FULL) -> None:
        self._directory, self._seed, self._shape = directory, seed, shape
        self._faults = schedule(seed, shape, faults)
        self.note = Notebook()
        self._stop_changes, self._stop = threading.Event(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._again: list[tuple[float, Callable[[], None]]] = []
        self._down: set[str] = set()

    def run(self, plants: dict[str, str] | None = None) -> list[Happening]:
        """Everything; whatever happens, nothing of it is left running or mounted."""
        cluster = ChaosCluster(self._directory, self._shape, plants)
        try:
            cluster.network.wire()
            with cluster.network.operating():
                self._go(cluster)
        finally:
            self._stop_changes.set()
            self._stop.set()
            for thread in self._threads:
                thread.join(30)
            cluster.stop()
            write(self._directory / "history.jsonl", self.note.history)
        return self.note.history

    def _go(self, cluster: ChaosCluster) -> None:
        for board in cluster.boards:
            self.note(board)
        cluster.begin()
        boards, operator = Boards(cluster, self.note), Operator(cluster, random.Random(self._seed), self.note)
        self._begin(lambda: boards.run(self._stop))
        for server in self._shape.servers:
            self._begin(lambda server=server: ask(cluster, server, self.note, self._stop))  # type: ignore[misc]
        self._wait(cluster, "a version is published", lambda: operator.publish() == "ok", STARTING)
        operator.deploy(operator.newest(), ())
        self._wait(cluster, "the first version runs", lambda: self._stands(cluster, 1), STARTING)
        changing = self._begin(lambda: operator.run(self._stop_changes))
        self._disturb(cluster)
        self._stop_changes.set()
        while changing.is_alive():
            self._mind(cluster)
            time.sleep(STEP)
        self.note(Healed(self.note.now(), BOUND))
        self._finish(cluster, operator, boards)

    def _disturb(self, cluster: ChaosCluster) -> None:
        hand, began = Hand(cluster), time.monotonic()
        todo: list[tuple[float, bool, Fault]] = [(fault.at, True, fault) for fault in self._faults]
        todo = sorted(todo + [(fault.until, False, fault) for fault in self._faults], key=lambda one: one[0])
        for due, begins, fault in todo:
            while time.monotonic() - began < due:
                self._mind(cluster)
                time.sleep(STEP)
            self._mind(cluster)
            if begins:
                self.note(FaultBegan(self.note.now(), fault.number, f"{fault.kind} {fault.by or ''}", fault.whom))
                self._down |= set(fault.whom) if fault.kind == "kill" else set()
                hand.begin(fault)
            else:
                self._down -= set(fault.whom) if fault.kind == "kill" else set()
                hand.end(fault)
                self.note(FaultEnded(self.note.now(), fault.number))
        if not self._faults:
            time.sleep(8)  # changes alone

    def _mind(self, cluster: ChaosCluster) -> None:
        """Note what ended by itself, and start it again when its second is over."""
        for program, code in cluster.ended():
            self.note(Died(self.note.now(), program, code, _tail(cluster.log(program))))
            self._again.append((time.monotonic() + AGAIN, lambda program=program: self._start(cluster, program)))  # type: ignore[misc]
        for member in cluster.etcd.ended():  # etcd ends when its disk is full
            self._again.append((time.monotonic() + AGAIN, lambda member=member: self._start_member(cluster, member)))  # type: ignore[misc]
        due = [one for one in self._again if one[0] <= time.monotonic()]
        self._again = [one for one in self._again if one not in due]
        for _, start in due:
            start()

    def _start(self, cluster: ChaosCluster, program: str) -> None:
        if program not in self._down:
            cluster.start(program)

    def _start_member(self, cluster: ChaosCluster, member: str) -> None:
        if f"etcd-{cluster.etcd.hosts.index(member) + 1}" not in self._down:
            cluster.etcd.start(member)

    def _finish(self, cluster: ChaosCluster, operator: Operator, boards: Boards) -> None:
        """Until every board stands where the servers say, or the bound is over; then what is there."""
        end = time.monotonic() + BOUND
        while time.monotonic() < end and not self._stands(cluster, None):
            self._mind(cluster)
            time.sleep(0.2)
        boards.look()
        while time.monotonic() < end:
            try:
                with cluster.client() as client:
                    for one in client.software().software:
                        self.note(Listed(one.version, one.manifest))
                break
            except BoardwrightError:
                self._mind(cluster)
        operator.close()
        told: list[Happening] = []
        self._wait(cluster, "the engine tells its history", lambda: _filled(told, cluster), STARTING)
        for event in (*refetched(cluster), *told):
            self.note(event)

    def _stands(self, cluster: ChaosCluster, generation: int | None) -> bool:
        """Every board has confirmed the plan of `generation` (None: the newest that every server knows)."""
        last = {one.board: one for one in self.note.history if isinstance(one, Seen)}
        if generation is None:
            said = {one.server: one.generation for one in self.note.history if isinstance(one, Said)}
            if len(set(said.values())) != 1:
                return False
            generation = next(iter(said.values()))
        return len(last) == len(cluster.boards) and all(
            one.generation >= generation and one.state == "confirmed" and one.running == one.wanted
            for one in last.values()
        )

    def _wait(self, cluster: ChaosCluster, what: str, condition: Callable[[], bool], limit: float) -> None:
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {limit:g} s; see {self._directory}"
            self._mind(cluster)
            time.sleep(0.2)

    def _begin(self, work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread


def _filled(told: list[Happening], cluster: ChaosCluster) -> bool:
    told += _told(cluster)
    return bool(told)


def _told(cluster: ChaosCluster) -> list[Happening]:
    """What the engine committed; nothing while its members still elect a leader."""
    with closing(cluster.etcd.kv(cluster.name)) as kv:
        try:
            return committed(kv)
        except EngineError:
            return []


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-3:])[-400:]


def main(words: list[str]) -> int:
    seed = int(words[0]) if words else random.SystemRandom().randrange(10**6)
    directory = Path(f"/tmp/boardwright-chaos-{seed}")
    sweep()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    began = time.monotonic()
    findings = check(Run(directory, seed, int(words[1]) if len(words) > 1 else 20).run())
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
    sys.stdout.write(f"seed {seed}, {time.monotonic() - began:.0f} s, {directory}/history.jsonl\n")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
