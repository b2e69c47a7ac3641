"""``python -m bench.lab [PRESET ...] [--chassis N] ...``.

Exit codes: 0 done, 1 failed or a target missed, 2 wrong usage or no root.
"""

import argparse
import signal
import sys
import types

import msgspec

from bench.__main__ import machine
from bench.lab.programs import LabError
from bench.lab.race import contenders, missing, race
from bench.lab.result import details, table, target_lines, targets
from bench.lab.settings import CONTENDERS, HOLDERS, PRESETS, Setting
from boardwright.errors import BoardwrightError

OF_SHAPE = ("chassis", "control_boards", "boards", "link", "uplink")
OF_SETTING = ("size", "rounds", "seed", "holders", "kill")


def main(words: list[str]) -> int:
    options = _parser().parse_args(words)
    unknown = [name for name in options.preset if name not in PRESETS]
    if unknown:
        print(f"lab: no preset is named {', '.join(unknown)}; there are {', '.join(PRESETS)}", file=sys.stderr)
        return 2
    asked = [changed(setting, options) for name in options.preset or ["peers"] for setting in PRESETS[name]]
    trouble = missing() or next((trouble for setting in asked if (trouble := setting.trouble())), "")
    if trouble:
        print(f"lab: {trouble}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    print(machine(), flush=True)
    good = True
    for setting in asked:
        try:
            good &= _show(setting)
        except (LabError, BoardwrightError, AssertionError) as error:  # the last: a command of the network
            print(f"lab: {setting.title}: {error}", file=sys.stderr, flush=True)
            good = False
    return 0 if good else 1


def changed(setting: Setting, options: argparse.Namespace) -> Setting:
    """The setting with what was said on the command line."""
    given = {key: value for key, value in vars(options).items() if value is not None}
    shape = msgspec.structs.replace(setting.shape, **{key: given[key] for key in OF_SHAPE if key in given})
    return msgspec.structs.replace(
        setting,
        shape=shape,
        **{key: given[key] for key in OF_SETTING if key in given},
        **({"contenders": tuple(given["contenders"].split(","))} if "contenders" in given else {}),
    )


def _show(setting: Setting) -> bool:
    """Race, and print what came of it; whether all targets are met."""
    shape = setting.shape
    print(
        f"\n## {setting.title}: {shape.chassis} chassis x ({shape.control_boards} control boards + {shape.boards} line "
        f"boards), {shape.link:g} Mbit/s, uplinks {shape.uplink:g}, {setting.size} MiB, medians of {setting.rounds}, "
        f"floor {setting.floor:.2f} s\n",
        flush=True,
    )
    result = race(setting, contenders(setting.contenders), lambda line: print(line, file=sys.stderr, flush=True))
    rows = targets(result)
    print("\n".join([*table(result), "", *details(result), "", *target_lines(rows)]), flush=True)
    return all(row.met for row in rows)


def _end(number: int, frame: types.FrameType | None) -> None:
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make lab ARGS=...", description="Boards of a lab that all want the same bytes."
    )
    parser.add_argument("preset", nargs="*", help=f"some of {', '.join(PRESETS)}; default: peers")
    for name, kind, what in (
        ("chassis", int, "how many"),
        ("control-boards", int, "in each chassis"),
        ("boards", int, "line boards in each chassis"),
        ("link", float, "Mbit/s of every board"),
        ("uplink", float, "Mbit/s of every chassis"),
        ("size", int, "MiB, incompressible"),
        ("rounds", int, "the medians are of these"),
        ("seed", int, "of the payload and of who is killed"),
        ("contenders", str, f"some of {','.join(CONTENDERS)}"),
        ("holders", str, f"whose servers have the version at the start: {', '.join(HOLDERS)}"),
        ("kill", str, "server or relays=N, when half of the bytes have come in"),
    ):
        parser.add_argument(f"--{name}", type=kind, metavar="N" if kind is not str else "WORD", help=what)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
