"""Histories of clusters that kept their word, made up for the checker's own tests."""

import random

from tests.chaos.history import (
    Answered,
    BoardIs,
    Catalog,
    Deployed,
    FaultBegan,
    FaultEnded,
    Happening,
    Healed,
    Lease,
    Listed,
    Plan,
    Published,
    Rollout,
    Runs,
    Said,
    Seen,
)

BOARDS = tuple(BoardIs(f"c{chassis}s{slot}", str(chassis), str(slot), "lc") for chassis in (1, 2) for slot in (1, 2))
WHOM = {
    (): BOARDS,
    ("chassis=1",): BOARDS[:2],
    ("chassis=2",): BOARDS[2:],
    ("board=c1s1", "board=c2s1"): (BOARDS[0], BOARDS[2]),
    ("chassis=1,slot=2",): BOARDS[1:2],
}


def manifest(version: str) -> str:
    return f"manifest-{version}"


def content(version: str) -> str:
    return f"content-{version}"


class Telling:
    """Tells a good history of `changes` versions; `rng` says who is meant and which answers are lost."""

    def __init__(self, rng: random.Random, changes: int) -> None:
        self._rng = rng
        self._at, self._revision, self._call, self._rollout, self._epoch = 0.0, 0, 0, 0, 0
        self._plan: dict[str, str] = {}
        self._generation = 0
        self._happened: list[Happening] = list(BOARDS)
        self._committed: list[Happening] = []
        self._lease()
        for number in range(1, changes + 1):
            self._change(str(number))
        self._end([str(number) for number in range(1, changes + 1)])

    @property
    def history(self) -> list[Happening]:
        return [*self._happened, *self._committed]

    def _lease(self) -> None:
        self._epoch += 1
        self._committed.append(Lease(self._next(), f"c{self._epoch % 2 + 1}s1", self._epoch))

    def _change(self, version: str) -> None:
        if self._rng.random() < 0.3:
            self._lease()
        self._happened.append(FaultBegan(self._now(), int(version), "kill", ("server-c1s1",)))
        call = self._called(Published, version=version, manifest=manifest(version), content=content(version))
        self._committed.append(Catalog(self._next(), version, manifest(version)))
        self._answer(call)
        self._happened.append(FaultEnded(self._now(), int(version)))
        for selectors in self._rng.sample(list(WHOM), self._rng.randint(1, 2)):
            self._deploy(version, selectors)

    def _deploy(self, version: str, selectors: tuple[str, ...]) -> None:
        call = self._called(Deployed, version=version, selectors=selectors)
        fate = self._rng.random()
        if fate < 0.15:
            self._answer(call, "refused")
            return
        if fate > 0.2:  # else it never arrived, and nobody knows
            self._commit(version, selectors)
        if fate < 0.4:
            self._answer(call, "unknown")
            return
        self._answer(call, rollout=f"r{self._rollout}", generation=self._generation)
        self._look()

    def _commit(self, version: str, selectors: tuple[str, ...]) -> None:
        self._rollout += 1
        revision = self._next()
        plan = self._plan | {board.board: manifest(version) for board in WHOM[selectors]}
        if plan != self._plan:
            self._plan, self._generation = plan, self._generation + 1
            self._committed.append(Plan(revision, self._generation, self._generation - 1, plan))
        self._committed.append(Rollout(revision, f"r{self._rollout}", version, selectors, self._generation))

    def _look(self) -> None:
        for board in BOARDS:
            if self._rng.random() < 0.7:
                self._see(board.board)
        self._happened.append(Said(self._now(), "c1s1", "active", self._generation))

    def _see(self, board: str) -> None:
        named = self._plan.get(board, "")
        state = "confirmed" if named else "idle"
        self._happened.append(Seen(self._now(), board, self._generation, named, named, state))
        if named:
            version = named.removeprefix("manifest-")
            self._happened.append(Runs(self._now(), board, version, content(version)))

    def _end(self, versions: list[str]) -> None:
        self._deploy_for_good("0")
        self._happened.append(Healed(self._now(), 30.0))
        for board in BOARDS:
            self._see(board.board)
        self._happened += [Listed(version, manifest(version)) for version in (*versions, "0")]

    def _deploy_for_good(self, version: str) -> None:
        call = self._called(Published, version=version, manifest=manifest(version), content=content(version))
        self._committed.append(Catalog(self._next(), version, manifest(version)))
        self._answer(call)
        call = self._called(Deployed, version=version, selectors=())
        self._commit(version, ())
        self._answer(call, rollout=f"r{self._rollout}", generation=self._generation)

    def _called(self, kind: type[Published] | type[Deployed], **fields: object) -> int:
        self._call += 1
        self._happened.append(kind(at=self._now(), call=self._call, **fields))  # type: ignore[arg-type]
        return self._call

    def _answer(self, call: int, outcome: str = "ok", *, rollout: str = "", generation: int = 0) -> None:
        self._happened.append(Answered(self._now(), call, outcome, rollout, generation))

    def _now(self) -> float:
        self._at += 0.25
        return self._at

    def _next(self) -> int:
        self._revision += 1
        return self._revision
