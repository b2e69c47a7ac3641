"""Feeds one fuzz target by atheris (coverage-guided), for as long as one likes, and watches that memory stays flat.

    python -m tests.fuzz.soak TARGET [SECONDS]

Needs the extra `fuzz`; an input that breaks a target is left as crash-* in the current directory.
"""

import resource
import sys

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed: pip install 'boardwright[fuzz]'")

with atheris.instrument_imports(include=["boardwright", "tarfile"]):
    from tests.fuzz.makers import good_audit_log, good_certificate, good_datagram, good_manifest, good_tar
    from tests.fuzz.signed import SEEDS, SIGNED
    from tests.fuzz.targets import TARGETS

MEMORY_MIB = 512  # of the whole process with atheris' own tables; more means that an input was believed


def main() -> None:
    name, seconds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60
    target = {**TARGETS, **SIGNED}[name]
    seeds = {
        "manifest": good_manifest,
        "archive": good_tar,
        "codec": good_datagram,
        "credentials": good_certificate,
        "audit": good_audit_log,
        **SEEDS,
    }
    seed = seeds[name]() if name in seeds else b""

    def one(data: bytes) -> None:
        # The first byte chooses: the input as it is, or laid over a good one, which gets deeper sooner.
        if seed and data[:1] >= b"\x80":
            at = int.from_bytes(data[1:3], "big") % len(seed)
            data = seed[:at] + data[3:] + seed[at + len(data) - 3 :]
        target(data)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        assert peak < MEMORY_MIB, f"memory grew to {peak} MiB"

    options = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
