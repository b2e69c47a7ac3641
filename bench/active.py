"""How long nobody takes changes when the active goes: real servers, real etcd, boards that download meanwhile.

Three servers and two line boards in one chassis, three members of etcd with its own timing on the same machine. In
every round the boards download an image of `--size` MiB at a capped rate; when a third of it is there, an operator
lets another server be the active (switchover), or the active's server is killed (SIGKILL), alone, with a member of
etcd that follows, or with the one that leads; or all members are killed and start again ten seconds later, once with
all servers killed and started meanwhile. Seconds are from that moment (of the members: when they have a leader
again) until a change (a join token) by a client that began then is acknowledged, as a command sees it. Afterwards
everything is started again, and both boards must have confirmed the image; verified pieces that came again are what
the agents count.

``python -m bench.active [--rounds 5] [--size 24]`` prints one table; a round takes some twenty seconds.
"""

import argparse
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.failover import MIB, Lab, running, until
from boardwright.model.admission import NewToken
from tests.etcd_members import EtcdMembers, members

RATE = 2_500_000  # bytes per second and board: 24 MiB take ten seconds, an outage is over before that
SERVERS = ("c1s1", "c1s2", "c1s3")
BOARDS = ("c1s4", "c1s5")
PLANNED, ALONE = "a planned switchover", "the active killed"
FOLLOWER, LEADER = "the active and a following member", "the active and the leading member"
ENGINE, EVERYTHING = "all members down and back", "the same, all servers killed and started meanwhile"
TARGETS = {PLANNED: 1.0, ALONE: 5.0, FOLLOWER: 5.0, LEADER: 5.0, ENGINE: 3.0, EVERYTHING: 3.0}  # seconds
AWAY = 10.0  # seconds that all members are down: longer than any lease
SYNCED = ()  # etcd's own timing, every write synced


def active_of(made: Lab) -> str:
    return next(server.id for server in made.client.servers().servers if server.role == "active")


def change(made: Lab) -> None:
    """One change, by a client that begins now and goes on until somebody takes it."""
    digest = secrets.token_hex(32)
    with made.new_client() as client:

        def taken() -> bool:
            client.create_token(NewToken(digest, "board", 60.0, 1))
            return True

        until("a change is taken", taken)
        client.drop_token(digest)


def download(made: Lab, version: str, size: int) -> None:
    """Publish and deploy; returns when both boards have a third of it."""
    made.publish(version, size)
    made.deploy(version)

    def under_way() -> bool:
        groups = [made.group(board) for board in made.boards]
        return all(group.wanted == version and sum(group.bytes.values()) > size * MIB / 3 for group in groups)

    until("a third of the download", under_way)


def switchover(made: Lab) -> float:
    """Seconds until another server takes changes because an operator wants it."""
    before = active_of(made)
    begun = time.monotonic()
    with made.new_client() as client:
        client.switchover()
    change(made)
    seconds = time.monotonic() - begun
    if active_of(made) == before:
        raise SystemExit(f"{before} is the active all the same")
    return seconds


def outage(made: Lab, etcd: EtcdMembers, kind: str) -> float:
    """Seconds until another server takes changes after the active died, alone or with a member of etcd."""
    active, leader = active_of(made), etcd.leader()
    follower = next(host for host in etcd.hosts if host != leader)
    member = {ALONE: None, FOLLOWER: follower, LEADER: leader}[kind]
    process = made.processes.pop(active)
    begun = time.monotonic()
    process.kill()
    if member:
        etcd.kill(member)
    change(made)
    seconds = time.monotonic() - begun
    process.wait()
    if member:
        etcd.start(member)
        etcd.wait()
    made.start(active, "server")
    return seconds


def engine_outage(made: Lab, etcd: EtcdMembers, kind: str) -> float:
    """Seconds until a change is taken after all members of etcd were away."""
    for host in etcd.hosts:
        etcd.kill(host)
    if kind == EVERYTHING:
        for server in made.servers:
            made.processes[server].kill()
            made.processes.pop(server).wait()
            made.start(server, "server")
    time.sleep(AWAY)
    etcd.start()
    etcd.wait()
    begun = time.monotonic()
    change(made)
    return time.monotonic() - begun


def one_round(made: Lab, etcd: EtcdMembers, kind: str, version: str, size: int) -> float:
    """Seconds without anybody who takes changes."""
    download(made, version, size)
    if kind == PLANNED:
        seconds = switchover(made)
    elif kind in (ENGINE, EVERYTHING):
        seconds = engine_outage(made, etcd, kind)
    else:
        seconds = outage(made, etcd, kind)
    for board in made.boards:
        made.confirmed(version, board)
    until("all servers healthy again", made.ready)
    return seconds


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.active")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=list(TARGETS), action="append", help="this kind alone; may be repeated")
    parser.add_argument("--size", type=int, default=24, help="MiB")
    options = parser.parse_args(words)
    seconds: dict[str, list[float]] = {kind: [] for kind in options.only or TARGETS}
    directory = Path(tempfile.mkdtemp(prefix="boardwright-bench-"))
    try:
        with members(directory / "etcd", 3, flags=SYNCED) as etcd:
            lab = Lab(directory, SERVERS, BOARDS, etcd.engine)
            with running(lab, RATE) as made:
                for number in range(options.rounds):
                    for index, (kind, found) in enumerate(seconds.items()):
                        found.append(one_round(made, etcd, kind, f"{number}.{index}", options.size))
                        print(f"{kind}: {found[-1]:.2f} s", file=sys.stderr)
                again = made.refetched()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    good = True
    print("| what | measured | target | met |\n|---|---|---|---|")
    for kind, found in seconds.items():
        target = TARGETS[kind]
        good &= max(found) <= target
        met = "yes" if max(found) <= target else "no"
        what = f"{kind}, until a change is taken: median / worst of {len(found)}"
        print(f"| {what} | {statistics.median(found):.2f} / {max(found):.2f} s | <= {target:g} s | {met} |")
    rounds = sum(map(len, seconds.values()))
    print(f"| deployments that failed, of {rounds * len(BOARDS)} | 0 | 0 | yes |")
    print(f"| verified bytes that came again | {again} | 0 | {'no' if again else 'yes'} |")
    return 0 if good and not again else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
