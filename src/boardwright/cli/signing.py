"""The operator signs what he publishes, with the keys in his folder (design section 4).

Rules:

* What the cluster has signed so far is verified from the operator's own first root before anything is signed on top.
* The operator's key for targets signs the groups that it was not told to leave to others; a group that is new is
  delegated to it with its first version. A group that was delegated to a vendor is signed by the vendor alone.
"""

from collections.abc import Callable
from pathlib import Path

from boardwright.cli.enrolling import KEYS, TARGETS_KEY, TRUST
from boardwright.cli.publishing import Sign
from boardwright.errors import RefusedError, UsageError
from boardwright.model.api import Publication, SignedMetadata
from boardwright.model.software import Target
from boardwright.trust.credentials import load_key
from boardwright.trust.names import ROOT_FILE, TARGETS, group_role
from boardwright.trust.offline import SigningKey, add_version, delegate_group, delegated_keys, signer_of
from boardwright.trust.online import SignedRoles


def verified(folder: Path, known: SignedMetadata) -> SignedRoles:
    """What the cluster has signed, from the first root in the operator's `folder` on; raises UntrustedError."""
    if not known.roots or known.roots[0] != first_root(folder):
        raise RefusedError(
            f"these servers do not trust the root in {folder / TRUST / ROOT_FILE}",
            hint="does --operator name the folder of this cluster, as it is now?",
        )
    return SignedRoles.of(known.roots, known.roles)


def first_root(folder: Path) -> bytes:
    """What trust in the metadata begins with, in the operator's `folder`; raises UsageError."""
    first = folder / TRUST / ROOT_FILE
    try:
        return first.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{first} cannot be read: {error.strerror or error}", hint="name the operator's folder that init made"
        ) from error


def signing(folder: Path, now: Callable[[], float]) -> Sign:
    """What signs a version with the operator's key in `folder`; `now` is seconds since the epoch."""

    def sign(known: SignedMetadata, target: Target, length: int, revive: bool) -> Publication:
        roles = verified(folder, known)
        signer = signer_of(load_key(folder / KEYS / TARGETS_KEY))
        return publication(roles, signer, target, length, now(), revive=revive)

    return sign


def publication(
    roles: SignedRoles, signer: SigningKey, target: Target, length: int, now: float, *, revive: bool = False
) -> Publication:
    """The version as the operator's key for targets signs it on top of `roles`; RefusedError if its vendor must.

    `length` is the manifest's in bytes, `now` seconds since the epoch; `revive`: see ``add_version``.
    """
    keys = delegated_keys(roles.roles[TARGETS], target.group)
    targets = None
    if not keys:
        targets = delegate_group(roles.roles[TARGETS], target.group, [signer.public_key], signer, now)
    elif signer.public_key.keyid not in keys:
        raise RefusedError(
            f"the group {target.group!r} was delegated: its vendor signs it, not the operator",
            hint="publish the package that the vendor has signed",
        )
    before = roles.roles.get(group_role(target.group))
    software = add_version(before, target, length, signer, now, revive=revive)
    return Publication(target.manifest, None if software == before else software, targets)
