"""Real file systems that are full: a board's and a server's; what runs goes on, and with room again all goes on."""

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.test_life import publish, running, software

MIB = 1 << 20
DISK = 48 * MIB  # bytes; a tenth of it is the reserve
RESERVE = DISK // 10
SLACK = MIB  # bytes; ledger, manifests and logs of programs may use the reserve, that is what it is for


@pytest.fixture
def small_disks() -> Iterator["SmallDisks"]:
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    disks = SmallDisks()
    yield disks
    for path in disks.mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=False)


class SmallDisks:
    """Mounts file systems of ``DISK`` bytes; all of them go at the end of the test, even with processes on them."""

    def __init__(self) -> None:
        self.mounted: list[Path] = []

    def mount(self, path: Path) -> Path:
        path.mkdir(parents=True)
        made = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "boardwright-test", str(path)]
        done = subprocess.run(made, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"needs root that may mount: {done.stderr.strip()}")
        self.mounted.append(path)
        return path


@pytest.fixture(autouse=True)
def _disks_outlive_the_programs(small_disks: "SmallDisks", cluster: Cluster) -> None:
    """Fixtures end in the order opposite to this one."""


def free(path: Path) -> int:
    figures = os.statvfs(path)
    return figures.f_bfree * figures.f_frsize


def fill(disk: Path, leave: int) -> Path:
    """Somebody else's file that leaves `leave` bytes."""
    filler = disk / "somebody-else"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free(disk) - leave)
    return filler


@contextmanager
def least_free(path: Path) -> Iterator[list[int]]:
    """The least that was free meanwhile."""
    least, stop = [free(path)], threading.Event()

    def look() -> None:
        while not stop.wait(0.01):
            least[0] = min(least[0], free(path))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield least
    finally:
        stop.set()
        looking.join()


def deploy(cluster: Cluster, version: str) -> None:
    done = cluster.run("deploy", "platform", version, "--to", "c1s3")
    assert done.returncode == 0, done.stderr


def until_it_says(cluster: Cluster, words: str) -> str:
    """The reason that the board gives, once it has these words; with its next try the reason is gone again."""
    said = ""

    def says() -> bool:
        nonlocal said
        said = str(cluster.group("c1s3").get("reason", ""))
        return words in said

    cluster.until(f"the board says {words!r}", says)
    return said


def test_a_board_whose_disk_is_full_goes_on_with_what_runs_and_with_room_again_by_itself(
    cluster: Cluster, small_disks: SmallDisks
) -> None:
    disk = small_disks.mount(cluster.directory / "boards" / "c1s3")
    cluster.init([(1, 1, True), (1, 3, False)])
    config = cluster.directory / "out" / "c1s3" / "agent.toml"
    config.write_text(re.sub(r"(?m)^#? ?download = .*$", 'download = "12MB/s"', config.read_text()))
    assert 'download = "12MB/s"' in config.read_text()
    cluster.start_servers("c1s1")
    for version, size in (("1", 4_000_000), ("2", 14_000_000), ("3", 12_000_000)):
        publish(cluster, software(cluster.directory, f"v{version}", size=size), version)
    deploy(cluster, "1")
    cluster.start_agents("c1s3")
    cluster.until_confirmed("1", "c1s3")

    filler = fill(disk, leave=16 * 1_000_000)  # with the reserve too little for 14 MB
    with least_free(disk) as least:
        deploy(cluster, "2")
        said = until_it_says(cluster, "does not fit")
    assert "platform 2 does not fit: it needs 14.0 MB" in said
    assert f"are free on {disk}" in said
    assert "5.0 MB of it are kept for the system" in said
    assert "remove what is not needed" in said
    # Between two tries it says that it is downloading.
    cluster.until("the table says it", lambda: said in " ".join(cluster.run("boards", "c1s3").stdout.split()))
    assert running(cluster, "c1s3") == "v1"
    assert least[0] > 15_000_000, "not a byte came"
    filler.unlink()
    cluster.until_confirmed("2", "c1s3")
    assert running(cluster, "c1s3") == "v2"

    before = free(disk)
    with least_free(disk) as least:
        deploy(cluster, "3")
        cluster.until("3 comes in", lambda: before - free(disk) > 3_000_000)
        filler = fill(disk, leave=RESERVE + 2_000_000)
        said = until_it_says(cluster, "are kept for the system")
    # In the middle of the download, or before the next try, which comes a second later.
    assert "nearly full" in said or "does not fit" in said, said
    assert "remove what is not needed" in said
    assert least[0] >= RESERVE - SLACK, "the reserve was used"
    assert running(cluster, "c1s3") == "v2"
    filler.unlink()
    cluster.until_confirmed("3", "c1s3")
    assert running(cluster, "c1s3") == "v3"
    assert sum(cluster.group("c1s3")["bytes"].values()) < 12_000_000 + 3 * MIB, "what had come is not fetched again"


def test_a_server_whose_disk_is_full_refuses_a_publish_before_its_first_byte_and_goes_on_serving(
    cluster: Cluster, small_disks: SmallDisks
) -> None:
    disk = small_disks.mount(cluster.directory / "boards" / "c1s1" / "data")
    cluster.init([(1, 1, True), (1, 3, False)])
    cluster.start_servers("c1s1")
    publish(cluster, software(cluster.directory, "v1", size=4_000_000), "1")
    second = software(cluster.directory, "v2", size=14_000_000)

    filler = fill(disk, leave=RESERVE + 3_000_000)
    with least_free(disk) as least:
        refused = cluster.run("publish", str(second), "--group", "platform", "--version", "2")
    assert refused.returncode == 1
    said = " ".join(refused.stderr.split())
    assert "the publish does not fit: it needs 14.0 MB" in said
    assert f"are free on {disk}" in said
    assert "remove what is not needed" in said
    assert least[0] >= RESERVE + 2_000_000, "not a byte came"
    assert [one["version"] for one in cluster.read("software")["software"]] == ["1"]
    cluster.until("the alarm", lambda: [one["kind"] for one in cluster.read("status")["alarms"]] == ["disk"])
    deploy(cluster, "1")
    cluster.start_agents("c1s3")
    cluster.until_confirmed("1", "c1s3")

    filler.unlink()
    publish(cluster, second, "2")
    deploy(cluster, "2")
    cluster.until_confirmed("2", "c1s3")
    cluster.until("the alarm is over", lambda: not cluster.read("status")["alarms"])
