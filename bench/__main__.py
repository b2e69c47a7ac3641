"""Run the benchmarks named on the command line, or all: ``python -m bench [choice] [transfer] ...``.

Each module of this package that has a ``main`` is one; it prints its own table and answers 0 if its targets are met.
"""

import importlib
import pkgutil
import sys

import bench


def main(names: list[str]) -> int:
    known = sorted(module.name for module in pkgutil.iter_modules(bench.__path__) if not module.name.startswith("_"))
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    worst = 0
    for name in names or known:
        run = getattr(importlib.import_module(f"bench.{name}"), "main", None)
        if run is not None:
            print(f"\n## {name}\n", flush=True)
            worst = max(worst, run([]))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
