"""What the clients of this room need of ``trust.lines``: TLS to the servers of the cluster and to nobody else."""

from typing import Any, Protocol

import urllib3


class Lines(Protocol):
    """Raises UntrustedError (a MalformedError) where a request finds another than a server of the cluster."""

    def manager(self, seconds: float | None = None, **options: Any) -> urllib3.PoolManager: ...
