"""Run the benchmarks named on the command line, or all: ``python -m bench [choice] [transfer] ...``.

Each module of this package that has a ``main`` is one; it prints its own table and answers 0 if its targets are met.
The lab is apart (``python -m bench.lab``): it needs root, and a quiet machine for long.
"""

import importlib
import os
import pkgutil
import platform
import sys
from pathlib import Path

import bench


def main(names: list[str]) -> int:
    modules = [module for module in pkgutil.iter_modules(bench.__path__) if not module.ispkg]
    known = sorted(module.name for module in modules if not module.name.startswith("_"))
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    print(machine())
    worst = 0
    for name in names or known:
        run = getattr(importlib.import_module(f"bench.{name}"), "main", None)
        if run is not None:
            print(f"\n## {name}\n", flush=True)
            worst = max(worst, run([]))
    return worst


def machine() -> str:
    """What the figures were measured on, in one line."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(": ")[2] if models else platform.machine()
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
