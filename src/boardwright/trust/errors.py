"""What goes wrong with trust: somebody lies, or somebody is behind."""

from boardwright.errors import FailedError, MalformedError


class UntrustedError(MalformedError):
    """Signed by nobody whom this board trusts; take the next server."""


class RevokedError(UntrustedError):
    """Signed with a key that was trusted once."""


class StaleError(FailedError):
    """Metadata that is older than what this board has, or has expired; take the next server."""

    retry = True
