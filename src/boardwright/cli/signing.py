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
from boardwright.trust.errors import UntrustedError
from boardwright.trust.keys import Secret, open_key
from boardwright.trust.names import ROOT_FILE, TARGETS, group_role, version_path
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


def signing(folder: Path, secret: Secret, now: Callable[[], float]) -> Sign:
    """What signs a version with the operator's key in `folder`, unlocked by `secret`; `now`: seconds of the epoch."""

    def sign(known: SignedMetadata, target: Target, length: int, revive: bool) -> Publication:
        roles = verified(folder, known)
        signer = signer_of(open_key(folder / KEYS / TARGETS_KEY, secret))
        return publication(roles, signer, target, length, now(), revive=revive)

    return sign


def signed_already(folder: Path, role: bytes) -> Sign:
    """What brings in a version that its package has signed by `role`; RefusedError, UntrustedError, ConflictError."""

    def bring(known: SignedMetadata, target: Target, length: int, revive: bool) -> Publication:
        del length
        roles = verified(folder, known)
        if roles.names(target):
            return Publication(target.manifest)
        try:
            made = roles.with_software(target.group, role, version_path(target) if revive else "")
        except UntrustedError as error:
            raise RefusedError(
                f"this cluster does not let the key that signed {target.group} {target.version} sign that group",
                hint=f"boardwright trust delegate {target.group} KEY, if it is the vendor's",
            ) from error
        if not made.names(target):
            raise RefusedError(f"the signature in the package is not for {target.group} {target.version}")
        return Publication(target.manifest, role)

    return bring


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
