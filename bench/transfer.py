"""Moving bytes, side by side with nginx and curl (design section 5): ``python -m bench.transfer [--repeats 7]``.

Both sides run in turn in one run, over loopback, from a server process of their own that has the files in the page
cache, onto the same disk; ratios are of medians, and above 1 means that Boardwright is faster. Before each timed run
everything older is synced, so nobody pays for another's writes. What is synced within the time stands in each row:
"unsynced" is what curl, sha256sum and tar do, on both sides; "synced" ends with ``sync -f`` there and with
Boardwright's own syncfs here. Boardwright's time is taken inside a running fetcher process (an agent runs all the
time), curl's and the others' include the few milliseconds of their starts.

The extra time of a failover is that of one download with the hit less the median without.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench import _installing
from boardwright.cli.enrolling import enroll_board
from boardwright.model.inventory import Board
from boardwright.model.location import Location
from boardwright.model.software import Manifest, encode_manifest
from boardwright.transfer.options import SoftwareOptions
from boardwright.transfer.pack import pack
from boardwright.transfer.store import BlobStore
from boardwright.trust.issuing import Issuer

MIB = 1024 * 1024
LIMIT = 120.0  # seconds for one timed run; none takes a tenth
NGINX = """
worker_processes auto; daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir};
  scgi_temp_path {dir};
  server {{ listen 127.0.0.1:{port} ssl reuseport; root {root}; }}
  ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.3;
}}
"""


class Row(msgspec.Struct, frozen=True):
    what: str
    ours: str
    theirs: str
    value: str
    target: str
    met: bool | None


class Server:
    """A process that serves, its URL, and its store."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.store = BlobStore(root)
        self.process = _python("bench._blob_server", str(root), str(folder))
        self.url = _line(self.process)

    @property
    def peak(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        _end(self.process)


class Bench:
    """The temporary directory, the fetcher process and the versions."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder  # of the identity that everybody here bears
        self.fetcher = _python("bench._fetcher")

    def close(self) -> None:
        _end(self.fetcher)

    def fetch(self, manifest: Path, urls: list[str], *, tree: bool, durable: bool, **more: Any) -> dict[str, Any]:
        """One download into empty directories."""
        for name in ("store", "tree"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        os.sync()
        job = {
            "manifest": str(manifest),
            "store": str(self.root / "store"),
            "urls": urls,
            "tree": str(self.root / "tree") if tree else None,
            "durable": durable,
            "folder": str(self.folder),
            **more,
        }
        answer: dict[str, Any] = _ask(self.fetcher, job)
        return answer

    def shell(self, script: str) -> float:
        """Seconds that a shell script takes in an empty directory."""
        place = self.root / "curl"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        os.sync()
        begun = time.perf_counter()
        subprocess.run(["sh", "-ec", script], cwd=place, check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun


def make_image(path: Path, size: int) -> None:
    """A file of `size` bytes in which no two pieces are equal."""
    block = bytearray(os.urandom(MIB))
    with path.open("wb") as file:
        for index in range(size // MIB):
            block[:8] = index.to_bytes(8, "big")
            file.write(block)


def make_tree(root: Path, files: int, size: int) -> None:
    """`files` small files of `size` bytes in all, in 200 directories of three levels."""
    content = os.urandom(2 * size // files)
    for index in range(files):
        directory = root / f"part{index % 20:02d}" / f"module{index % 200:03d}"
        directory.mkdir(parents=True, exist_ok=True)
        length = size // files // 2 + index * size // files // files
        (directory / f"file{index:05d}").write_bytes(index.to_bytes(8, "big") + content[: length - 8])


def publish(path: Path, server: Server, workdir: Path) -> tuple[Manifest, Path]:
    """Pack `path` into the server's store; the manifest and its file."""
    workdir.mkdir()
    packed = pack(path, SoftwareOptions(group="bench", version="1"), workdir=workdir)
    for sha256, source in packed.blobs.items():
        server.store.put_file(sha256, source.path, move=source.temporary)
    file = workdir / "manifest.json"
    file.write_bytes(encode_manifest(packed.manifest))
    return packed.manifest, file


def interleaved(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median seconds of each side; the sides take turns, and each round begins with another one."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for side in sides.values():
        side()  # warms the page cache and the processes
    for number in range(repeats):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(sides[name]())
    return {name: statistics.median(values) for name, values in times.items()}


def blob_rows(bench: Bench, server: Server, nginx: str, repeats: int) -> list[Row]:
    image = bench.root / "image"
    make_image(image, 1024 * MIB)
    manifest, file = publish(image, server, bench.root / "pack-image")
    image.unlink()
    get = f"curl -sk -o f {nginx}/blobs/{manifest.blobs[0].sha256[:2]}/{manifest.blobs[0].sha256}"
    urls = [server.url]
    medians = interleaved(
        {
            "ours": lambda: bench.fetch(file, urls, tree=False, durable=False)["seconds"],
            "sha256sum": lambda: bench.shell(f"{get} && sha256sum f"),
            "openssl": lambda: bench.shell(f"{get} && openssl dgst -sha256 f"),
            "curl": lambda: bench.shell(get),
            "ours synced": lambda: bench.fetch(file, urls, tree=False, durable=True)["seconds"],
            "sha256sum synced": lambda: bench.shell(f"{get} && sha256sum f && sync -f f"),
        },
        repeats,
    )
    return [
        ratio("1 GiB, unsynced, against curl + sha256sum", medians, "ours", "sha256sum", 1.5),
        ratio("1 GiB, unsynced, against curl + openssl dgst", medians, "ours", "openssl", None),
        ratio("1 GiB, unsynced, against curl alone (no digest)", medians, "ours", "curl", None),
        ratio("1 GiB, synced, against curl + sha256sum + sync", medians, "ours synced", "sha256sum synced", None),
        *failover_rows(bench, server, file, repeats),
    ]


def failover_rows(bench: Bench, server: Server, file: Path, repeats: int) -> list[Row]:
    """A second server that is killed or stopped after a quarter of the bytes; the first goes on."""
    spare = bench.root / "spare"
    shutil.copytree(server.root / "blobs", spare / "blobs", copy_function=os.link)
    rows = []
    count = max(3, repeats // 2)
    for name, number, target in (("killed", signal.SIGKILL, 1.0), ("hangs (SIGSTOP)", signal.SIGSTOP, 3.0)):
        unhurt, hurt, again = [], [], 0
        for _ in range(count):
            unhurt.append(bench.fetch(file, [server.url], tree=False, durable=False)["seconds"])
            victim = Server(spare, bench.folder)
            try:
                hit = [victim.process.pid, int(number), 256 * MIB]
                run = bench.fetch(file, [victim.url, server.url], tree=False, durable=False, hit=hit)
            finally:
                victim.close()
            hurt.append(run["seconds"])
            again += run["refetched"]
        plain = statistics.median(unhurt)
        extra = [seconds - plain for seconds in hurt]
        worst = max(extra)
        rows.append(
            Row(
                f"1 GiB, the server {name} after 256 MiB: extra time, worst of {count} ({again} verified bytes again)",
                f"{plain + statistics.median(extra):.2f} s",
                f"{plain:.2f} s (ours, unhurt)",
                f"{worst:+.2f} s",
                f"<= {target:g} s",
                worst <= target and not again,
            )
        )
    return rows


def tree_rows(bench: Bench, server: Server, nginx: str, repeats: int) -> list[Row]:
    files = bench.root / "files"
    make_tree(files, 20_000, 200 * MIB)
    _, file = publish(files, server, bench.root / "pack-tree")
    subprocess.run(["tar", "-cf", str(server.root / "tree.tar"), "-C", str(files), "."], check=True, timeout=LIMIT)
    shutil.rmtree(files)
    get = f"curl -sk -o t.tar {nginx}/tree.tar && sha256sum t.tar && mkdir x && tar -xf t.tar -C x"
    urls = [server.url]
    medians = interleaved(
        {
            "ours": lambda: bench.fetch(file, urls, tree=True, durable=False)["seconds"],
            "tar": lambda: bench.shell(get),
            "ours synced": lambda: bench.fetch(file, urls, tree=True, durable=True)["seconds"],
            "tar synced": lambda: bench.shell(f"{get} && sync -f x"),
        },
        repeats,
    )
    return [
        ratio("20,000 files (200 MiB), unsynced, against curl + sha256sum + tar", medians, "ours", "tar", 1.0),
        ratio("20,000 files, synced, against the same + sync", medians, "ours synced", "tar synced", None),
    ]


def memory_rows(bench: Bench, server: Server) -> list[Row]:
    """Fresh fetchers, a small and a large blob."""
    peaks = {}
    for size in (64, 4096):
        image = bench.root / f"image{size}"
        make_image(image, size * MIB)
        _, file = publish(image, server, bench.root / f"pack-{size}")
        image.unlink()
        fresh = Bench(bench.root, bench.folder)
        try:
            peaks[size] = fresh.fetch(file, [server.url], tree=False, durable=True)["peak"]
        finally:
            fresh.close()
    small, large = peaks[64], peaks[4096]
    same = large - small < 4 * MIB
    return [
        Row(
            "peak of the fetching process, 4 GiB against 64 MiB",
            mib(large),
            mib(small),
            "",
            "<= 80 MiB, same",
            large <= 80 * MIB and same,
        ),
        Row("peak of the server process", mib(server.peak), "", "", "<= 112 MiB", server.peak <= 112 * MIB),
    ]


def ratio(what: str, medians: dict[str, float], ours: str, theirs: str, target: float | None) -> Row:
    value = medians[theirs] / medians[ours]
    return Row(
        what,
        f"{medians[ours]:.2f} s",
        f"{medians[theirs]:.2f} s",
        f"{value:.2f}x",
        f">= {target:g}x" if target else "",
        value >= target if target else None,
    )


def mib(count: int) -> str:
    return f"{count / MIB:.0f} MiB"


@contextlib.contextmanager
def nginx(root: Path, place: Path, folder: Path) -> Iterator[str | None]:
    """nginx with TLS 1.3 over the files in `root`, its URL; None where it cannot be had."""
    if not (_installing.program("nginx", "nginx-light") and _installing.program("curl", "curl")):
        yield None
        return
    port = 20000 + os.getpid() % 10000
    config = place / "nginx.conf"
    config.write_text(NGINX.format(dir=place, root=root, port=port, folder=folder))
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(place)], stderr=subprocess.DEVNULL)
    try:
        url = f"https://127.0.0.1:{port}"
        wait = ["curl", "-sk", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "-o", "/dev/null", url]
        subprocess.run(wait, check=True, timeout=30)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def _python(module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline().strip() if process.stdout else ""
    if not line:
        raise RuntimeError(f"process {process.args!r} ended with {process.wait(timeout=10)}")
    return line


def _ask(process: subprocess.Popen[str], job: dict[str, Any]) -> Any:
    assert process.stdin is not None
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    return json.loads(_line(process))


def _end(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(arguments: list[str] | None = None) -> int:
    """Run all, print a markdown table; 0 if every target is met."""
    parser = argparse.ArgumentParser(prog="python -m bench.transfer", description="transfer against nginx and curl")
    parser.add_argument("--repeats", type=int, default=7, help="timed runs of each side")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="a directory on a disk, not in memory")
    parser.add_argument("--only", choices=("blob", "tree", "memory"), action="append")
    options = parser.parse_args(arguments)
    only = options.only or ["blob", "tree", "memory"]
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="boardwright-bench-", dir=options.dir) as name,
        contextlib.ExitStack() as end,
    ):
        root = Path(name)
        root.chmod(0o755)  # nginx's workers read as another user
        folder = root / "identity"
        folder.mkdir()
        board = Board("c1s1", Location("1", "1"), "rp", server=True)
        enroll_board(folder, board, Issuer.authority("bench"))
        server = Server(root / "server", folder)
        end.callback(server.close)
        bench = Bench(root, folder)
        end.callback(bench.close)
        (root / "nginx").mkdir()
        url = end.enter_context(nginx(server.root, root / "nginx", folder))
        if url is None:
            print("nginx and curl are not here: only memory is measured")
        if url and "blob" in only:
            rows += blob_rows(bench, server, url, options.repeats)
        if url and "tree" in only:
            rows += tree_rows(bench, server, url, options.repeats)
        if "memory" in only:
            rows += memory_rows(bench, server)
    print("| measured | Boardwright | other side | ratio | target | met |\n|---|---|---|---|---|---|")
    for row in rows:
        met = "" if row.met is None else ("yes" if row.met else "**no**")
        print(f"| {row.what} | {row.ours} | {row.theirs} | {row.value} | {row.target} | {met} |")
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
