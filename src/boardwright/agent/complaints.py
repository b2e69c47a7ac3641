"""Telling a server that it sent wrong bytes, so that it looks at its disk (it believes nobody and hashes for itself).

Best effort, in a thread of its own: a download goes on with the next server meanwhile, and nothing waits for an answer.
"""

from boardwright import log
from boardwright.agent.worker import Worker
from boardwright.errors import BoardwrightError
from boardwright.net.agent_client import AgentClient

_log = log.get("agent.complaints")


class Complaints:
    """Sent one after the other by `client`; each download sends one for each server and blob."""

    def __init__(self, board: str, client: AgentClient) -> None:
        self._client = client
        self._worker = Worker(f"{board} complaints")

    def post(self, api: str, sha256: str) -> None:
        """The server whose API is at base URL `api` sent wrong bytes for this blob."""
        self._worker.submit(lambda: self._send(api, sha256))

    def close(self, timeout: float) -> bool:
        """End; False if that took longer than `timeout` seconds."""
        return self._worker.close(timeout)

    def _send(self, api: str, sha256: str) -> None:
        _log.warning("a server sent wrong bytes", api=api, blob=sha256)
        try:
            self._client.verify(api, sha256)
        except BoardwrightError as error:
            _log.info("the server did not take the complaint", api=api, error=str(error))
