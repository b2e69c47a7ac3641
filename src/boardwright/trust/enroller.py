"""The online key with which a control board lets line boards in: made and certified by ``boardwright init``.

Rules:

* ``enroller.pem`` and ``enroller-key.pem`` lie beside the server's own certificate. The key is another one than the
  server's: it signs certificates and nothing else, and can be taken away alone.
* A server without them works; who wants to join then waits for the operator's approval.
* What an enroller signs is good for line boards only (``identity``): a stolen control board cannot make itself company.
"""

from pathlib import Path

from boardwright.errors import UsageError
from boardwright.trust.credentials import load_certificates, load_key
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Authority, Role
from boardwright.trust.issuing import Issuer

ENROLLER, ENROLLER_KEY = "enroller.pem", "enroller-key.pem"
_HINT = "copy the folder that `boardwright init` made, as a whole"


def load_enroller(folder: Path, authority: Authority, cluster: str, server: str) -> Issuer | None:
    """The enroller of `server` in its `folder`; None if there is none. UsageError if it is not its own, or damaged."""
    certificate, key = folder / ENROLLER, folder / ENROLLER_KEY
    if not certificate.exists() and not key.exists():
        return None
    data = load_certificates(certificate)[0]
    private = load_key(key)
    try:
        found = authority.verify(data)
    except UntrustedError as error:
        raise UsageError(f"{certificate}: {error}", hint=_HINT) from error
    said = found.identity
    if said.role is not Role.ENROLLER or said.id != server:
        raise UsageError(
            f"{certificate} is the certificate of {said.id} ({said.role.value}), not of an enroller of {server}",
            hint=_HINT,
        )
    if found.public_key.public_numbers() != private.public_key().public_numbers():
        raise UsageError(f"{key} is not the key that {certificate} names", hint=_HINT)
    return Issuer(cluster, server, private, data)
