"""Catching a server in the middle of a download that takes a few hundredths of a second.

Without a cap, reports come too late to tell the middle of a download from its end. So we look where the bytes
arrive: a control board takes a version from its own server (M5), and the blob under way lies in its agent's store as
``partial/<sha256>``. When that file appears, the server is halted by SIGSTOP; if the file is still there a moment
later, the download is stuck in its middle, and the server may die. Else it goes on as if nothing had happened.
"""

import time
from collections.abc import Sequence

from boardwright.cli.demo.cluster import DemoCluster
from boardwright.model.software import BlobRef

PATIENCE = 10.0  # seconds; boards ask within one second of a deployment
GLANCE = 0.002  # seconds between two looks; 32 MiB take some fifty milliseconds on a fast machine
MOMENT = 0.1  # seconds; what the network has buffered arrives meanwhile, and a stall is only noticed after seconds


def kill_in_mid_download(cluster: DemoCluster, standbys: Sequence[str], blob: BlobRef) -> str | None:
    """Kill the first of these servers that is caught sending `blob` to its own board; None if none was."""
    waiting = {board: cluster.agent_store(board) / "partial" / blob.sha256 for board in standbys}
    deadline = time.monotonic() + PATIENCE
    while waiting and time.monotonic() < deadline:
        for board, partial in tuple(waiting.items()):
            if not partial.exists():
                continue
            cluster.halt_server(board)
            time.sleep(MOMENT)
            if partial.exists():
                cluster.kill_server(board)
                return board
            cluster.continue_server(board)
            del waiting[board]
        time.sleep(GLANCE)
    return None
