"""What a lab's rounds come to: medians, multiples of the floor, and whether targets are met. Pure.

Rules:

* The floor is one copy over one board's link, without any header: nobody who uses TCP reaches 1.0, about 1.05 is
  the best.
* Bytes are multiples of the payload, with all headers; medians of the rounds.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence

import msgspec

from bench.lab.network import Traffic
from bench.lab.settings import OURS, PLAIN, Setting

GIB = 1024**3
IDLE, PEAK = 56.0, 80.0  # MiB of an agent
HEADERS_FAR, HEADERS_NEAR = 1.12, 0.03  # copies over an inter-chassis link at the interface
BLOBS_FAR = 1.05  # the same in blob bytes
NOISE = 1.02  # one board alone is "no slower" within what two runs of the same differ by
COST = 1.3  # times the CPU of a plain download, by byte


class Round(msgspec.Struct, frozen=True):
    """One contender's round; `boards` and `servers` are seconds of CPU, `figures` further ones by name."""

    contender: str
    seconds: float
    traffic: Traffic
    boards: float
    servers: float
    figures: dict[str, float] = {}


class Row(msgspec.Struct, frozen=True):
    """A line of the table of targets."""

    what: str
    measured: str
    target: str
    met: bool


class Result(msgspec.Struct, frozen=True):
    """`absent` are contenders that could not take part and why; `whole` are figures of all rounds, by contender."""

    setting: Setting
    rounds: tuple[Round, ...]
    whole: dict[str, dict[str, float]] = {}
    absent: dict[str, str] = {}

    def of(self, contender: str) -> list[Round]:
        return [one for one in self.rounds if one.contender == contender]

    def median(self, contender: str, figure: Callable[[Round], float]) -> float:
        return statistics.median(map(figure, self.of(contender)))

    def multiple(self, contender: str) -> float:
        return self.median(contender, lambda one: one.seconds) / self.setting.floor

    def entered(self, contender: str, chassis: int) -> float:
        """Copies that came into a chassis."""
        return self.median(contender, lambda one: one.traffic.entered[chassis]) / self.setting.bytes

    def per_gib(self, contender: str) -> float:
        """Seconds of CPU on the boards for each GiB that they received or sent."""
        boards = [host.id for host in self.setting.shape.line_boards]

        def cost(one: Round) -> float:
            return one.boards / (sum(one.traffic.sent[board] + one.traffic.received[board] for board in boards) / GIB)

        return self.median(contender, cost)

    @property
    def contenders(self) -> list[str]:
        return [name for name in self.setting.contenders if self.of(name)]


def time_target(setting: Setting) -> float | None:
    """The multiple of the floor that Boardwright must reach; None where there is no word of it."""
    shape = setting.shape
    if len(shape.line_boards) < 8 or setting.holders != "all":
        return None
    if setting.kill:
        return 1.6 if setting.size >= 128 else None
    if shape.chassis == 1:
        return 1.6
    if shape.chassis > 2:
        return 1.4
    return 1.12 if setting.size >= 128 else 1.25


def table(result: Result) -> list[str]:
    """Markdown: one line for every contender."""
    lines = [
        "| contender | seconds | times the floor | into each chassis | sent by each server | CPU of boards / servers |",
        "|---|---|---|---|---|---|",
    ]
    setting = result.setting
    for name in result.contenders:
        rounds = result.of(name)
        seconds = statistics.median(one.seconds for one in rounds)
        entered = (result.entered(name, chassis) for chassis in rounds[0].traffic.entered)
        sent = (
            result.median(name, lambda one, host=host.id: one.traffic.sent[host]) / setting.bytes  # type: ignore[misc]
            for host in setting.shape.servers
        )
        boards, servers = (result.median(name, lambda one: one.boards), result.median(name, lambda one: one.servers))
        lines.append(
            f"| {name} | {seconds:.2f} | {seconds / setting.floor:.2f} | {_copies(entered)} | {_copies(sent)} "
            f"| {boards:.1f} / {servers:.1f} s |"
        )
    return lines


def details(result: Result) -> list[str]:
    """Sentences about Boardwright: blob bytes as its API tells them, memory, cost by byte."""
    lines = []
    for name in (name for name in (OURS, PLAIN) if result.of(name)):
        seconds = " ".join(f"{one.seconds:.2f}" for one in result.of(name))
        blobs = f"blobs granted, copies: {_figures(result, name, 'granted ')}"
        tiers = f"received by tier: {_figures(result, name, 'tier ')}"
        lines.append(f"{name}: rounds {seconds} s; {blobs}; {tiers}")
        memory = "{idle MiB:.1f} MiB idle, {peak MiB:.1f} MiB at most".format(**result.whole[name])
        cost = f"CPU of boards {result.per_gib(name):.2f} s for each GiB received or sent"
        lines.append(f"{name}: {cost}; agents {memory}")
    return lines


def _figures(result: Result, name: str, kind: str) -> str:
    """Copies of the payload that these figures come to."""
    told = []
    for key in result.of(name)[0].figures:
        if key.startswith(kind):
            count = statistics.median(one.figures.get(key, 0.0) for one in result.of(name))
            told.append(f"{key.removeprefix(kind)} {count / result.setting.bytes:.2f}")
    return ", ".join(told)


def targets(result: Result) -> list[Row]:
    """What Boardwright must reach in this setting, and whether it does."""
    setting, rows = result.setting, list[Row]()
    if not result.of(OURS):
        return rows
    limit = time_target(setting)
    if limit is not None:
        rows.append(_row("times the floor", result.multiple(OURS), limit))
    if setting.shape.chassis > 1 and len(setting.shape.line_boards) >= 8:
        rows += _links(result)
    if PLAIN in result.contenders and len(setting.shape.line_boards) == 1:
        ratio = result.multiple(OURS) / result.multiple(PLAIN)
        rows.append(_row("one board alone, times as long as without relay", ratio, NOISE))
    elif PLAIN in result.contenders:
        ratio = result.per_gib(OURS) / result.per_gib(PLAIN)
        rows.append(_row("CPU of boards by byte, times that without relay", ratio, COST))
    whole = result.whole[OURS]
    rows.append(_row("an agent, idle, MiB", whole["idle MiB"], IDLE))
    rows.append(_row("an agent, peak, MiB", whole["peak MiB"], PEAK))
    return rows


def _links(result: Result) -> Iterable[Row]:
    setting = result.setting
    near = setting.holders == "all"
    chassis = range(1 if near else 2, setting.shape.chassis + 1)
    worst = max(result.entered(OURS, one) for one in chassis)
    yield _row("copies into a chassis at the interface", worst, HEADERS_NEAR if near else HEADERS_FAR)
    far = result.median(OURS, lambda one: one.figures.get("tier elsewhere", 0.0)) / setting.bytes
    others = setting.shape.chassis - 1
    yield _row("copies from elsewhere in blob bytes, by chassis", far / others, 0.0 if near else BLOBS_FAR)


def target_lines(rows: Sequence[Row]) -> list[str]:
    """Markdown."""
    lines = ["| what | measured | target | met |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.measured} | {row.target} | {'yes' if row.met else '**no**'} |" for row in rows]
    return lines if rows else []


def _row(what: str, value: float, limit: float) -> Row:
    return Row(what, f"{value:.2f}", f"<= {limit:g}", value <= limit)


def _copies(counts: Iterable[float]) -> str:
    return " / ".join(f"{count:.2f}" for count in counts)
