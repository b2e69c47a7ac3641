"""The manifests of versions on their way: on the board's disk until the version is staged, else from a server.

Rules:

* What lies on the disk is believed only if it has the digest that the plan names: a power cut or a bad sector may have
  changed it, and then it is brought again.
* A full server (429, 503) is asked again each second for a bounded time, as for the files.
"""

from collections.abc import Collection
from pathlib import Path

from boardwright.agent.downloads import Download
from boardwright.errors import BoardwrightError, FailedError, MalformedError, UnreachableError
from boardwright.model.software import Manifest, decode_manifest, digest_of
from boardwright.net.agent_client import AgentClient, BusyError
from boardwright.transfer.durable import write_durably
from boardwright.trust.errors import UntrustedError

BUSY_ROUNDS = 300  # seconds and more that full servers are asked again for a manifest, as long as for the files


class Manifests:
    """Manifests by digest in `directory`, which is made if it is missing."""

    def __init__(self, directory: Path, client: AgentClient) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._client = client

    def read(self, digest: str) -> tuple[bytes, Manifest] | None:
        """The manifest with this digest, if it lies here unchanged."""
        try:
            data = (self._directory / digest).read_bytes()
            return (data, decode_manifest(data)) if digest_of(data) == digest else None
        except (OSError, MalformedError):
            return None

    def bring(self, download: Download) -> tuple[bytes, Manifest]:
        """The download's manifest from the disk, or from the first server that has it.

        Raises FailedError that names every server's reason, MalformedError for a manifest that is none, OSError.
        """
        digest = download.target.manifest
        known = self.read(digest)
        if known is not None:
            return known
        for _ in range(BUSY_ROUNDS):
            problems: list[BoardwrightError] = []
            for url in download.urls:
                try:
                    data = self._client.manifest(url, digest)
                except BoardwrightError as error:
                    problems.append(error)
                    if isinstance(error, UnreachableError | UntrustedError):
                        download.silent(url, sentence(error))
                    elif isinstance(error, MalformedError):
                        download.wrong_manifest(url)
                    continue
                manifest = decode_manifest(data)
                write_durably(self._directory / digest, data)
                return data, manifest
            if not any(isinstance(error, BusyError) for error in problems) or download.stop.wait(1.0):
                break
        reasons = "; ".join(sentence(error) for error in problems)
        raise FailedError(f"nobody sent the manifest of {download.target.version}: {reasons}")

    def keep_only(self, digests: Collection[str]) -> None:
        """Remove every other manifest. Raises OSError."""
        for path in self._directory.iterdir():
            if path.name not in digests:
                path.unlink(missing_ok=True)


def sentence(error: BaseException) -> str:
    """An error in one sentence, with what to do; of the system's errors the words without the number."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    hint = getattr(error, "hint", None)
    return f"{error}; {hint}" if hint else str(error)
