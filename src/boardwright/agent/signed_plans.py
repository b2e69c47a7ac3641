"""What a board is to run, as far as it is signed (design section 4).

Rules:

* The board's part of the plan is the one in the signed shard, whatever a server says beside it. What that adds is only
  what the board has told the servers itself: what it rolled back from, and that it may try again.
* Every version that the plan names must be named by the signed role of its group, with this very manifest. So nothing
  that nobody signed is ever fetched, and the manifest's digest vouches for every byte of it.
* Metadata is on the disk, in ``state_dir/trust``, before it counts. It begins with the root that the board was given.
* Whatever is wrong is the server's fault: the next one is asked. Only a disk that takes no metadata is the board's own:
  it is said, and tried again like the rest.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import urllib3

from boardwright.errors import FailedError, UsageError
from boardwright.model.plan import BoardPlan, Withheld
from boardwright.model.software import Target
from boardwright.protocol.codec import MAX_NUMBER
from boardwright.transfer.durable import write_durably
from boardwright.trust.errors import UntrustedError
from boardwright.trust.fetching import MetadataFetcher
from boardwright.trust.names import ROOT_FILE, version_path
from boardwright.trust.offline import MAX_METADATA
from boardwright.trust.shards import MAX_SHARD_BYTES, counted, read_shard, shard_of, shard_path
from boardwright.trust.verifier import Trusted, Verifier

TRUST = "trust"  # in the state directory
METADATA = "/v1/metadata/"


class Servers(Protocol):
    """What is asked of servers; raises BoardwrightError."""

    @property
    def pool(self) -> urllib3.PoolManager: ...

    def plan(self, api: str, board: str) -> BoardPlan: ...

    def signed_file(self, url: str, limit: int) -> bytes: ...


class SignedPlans:
    """The plans of one board; blocking, one caller at a time."""

    def __init__(self, servers: Servers, state_dir: Path, root: bytes, wall: Callable[[], float] = time.time) -> None:
        """`root` is what the board was given. OSError if the disk does not take the folder."""
        self._servers = servers
        self._fetcher = MetadataFetcher(servers.pool)
        self._directory = directory = state_dir / TRUST
        directory.mkdir(exist_ok=True)
        self._verifier = Verifier(directory, write=write_durably, wall=wall, monotonic=time.monotonic, root=root)

    @property
    def era(self) -> int:
        """Grows when the operator drops an online key: numbers that such a key may have made up count no more."""
        return self._verifier.era

    def plan(self, api: str, board: str) -> BoardPlan:
        """What the server at `api` can prove that `board` is to run.

        Raises StaleError, UntrustedError, UnreachableError, FailedError: the next server may do better.
        """
        try:
            return self._plan(api, board)
        except OSError as error:
            raise FailedError(
                f"{error.filename or self._directory} takes no signed metadata: {error.strerror or error}",
                hint="make room on this board's disk",
            ) from error

    def _plan(self, api: str, board: str) -> BoardPlan:
        said = self._servers.plan(api, board)
        if not 0 <= said.retry <= MAX_NUMBER:
            raise UntrustedError(f"{api} says that this board may try again {said.retry} times")
        trusted = self._verifier.refresh(self._fetcher, api + METADATA)
        signed = self._part(trusted, api, board)
        for target in signed.groups.values():
            _check_signed(trusted, target)
        return with_hints(signed, said)

    def _part(self, trusted: Trusted, api: str, board: str) -> BoardPlan:
        first = trusted.find(shard_path(0))
        if first is None:
            raise UntrustedError(f"{api} has no signed plan")
        path = shard_path(shard_of(board, counted(first.custom)))
        found = trusted.find(path)
        if found is None:
            raise UntrustedError(f"{api} has no signed {path}, though its plan has it")
        folder, _, name = path.rpartition("/")
        url = f"{api}{METADATA}targets/{folder}/{found.hashes['sha256']}.{name}"
        data = self._servers.signed_file(url, min(found.length, MAX_SHARD_BYTES))
        found.check_bytes(data)
        return read_shard(data).for_board(board)


def read_first_root(trust: Path) -> bytes:
    """The root that a board was given in its folder `trust`; raises UsageError."""
    path = trust / ROOT_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_METADATA + 1)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}", hint="copy the folder that `boardwright init` made"
        ) from error
    if len(data) > MAX_METADATA:
        raise UsageError(f"{path} has more than {MAX_METADATA} bytes")
    return data


def with_hints(signed: BoardPlan, said: BoardPlan) -> BoardPlan:
    """The signed plan without what the server withholds of it, and with how often the board may try again."""
    withheld: dict[str, Withheld] = {
        group: one for group, one in said.withheld.items() if signed.groups.get(group) == one.target
    }
    groups = {group: target for group, target in signed.groups.items() if group not in withheld}
    return BoardPlan(signed.generation, groups, withheld, said.retry)


def _check_signed(trusted: Trusted, target: Target) -> None:
    found = trusted.find(version_path(target))
    if found is None or found.hashes.get("sha256") != target.manifest:
        raise UntrustedError(
            f"the plan names {target.group} {target.version} with the manifest {target.manifest[:12]}, which nobody "
            f"has signed whom this board trusts with {target.group}"
        )
