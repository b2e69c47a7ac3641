"""Joining a cluster from the joiner's side: a key of its own, and a certificate for it.

Rules:

* Nothing is sent before it is known to whom: the server's cluster shows its authority, whose key must be the one in the
  token, and what is sent goes over a connection that this authority vouches for.
* The key is made here, mode 0600, and never leaves. It is on the disk before the first question, so that who waits for
  approval, or lost the answer, asks again with the same one.
* The certificate is checked before it is believed, and written last: where it lies, joining is over.
"""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from boardwright.cli.enrolling import TRUST, write_private
from boardwright.errors import FailedError, RefusedError, UsageError
from boardwright.model.admission import ClusterAuthority, JoinAnswer, Joining
from boardwright.model.software import digest_of
from boardwright.transfer.durable import write_durably
from boardwright.trust.credentials import AUTHORITY, load_key
from boardwright.trust.errors import UntrustedError
from boardwright.trust.identity import Authority, Identity, Role, identity_of, read_certificate
from boardwright.trust.issuing import certificate_pem, key_pem, new_key
from boardwright.trust.joining import JoinToken, proved
from boardwright.trust.names import ONLINE_KEY, ROOT_FILE, TARGETS_FILE

POLL = 2.0  # seconds between questions while somebody waits for a person
Ask = Callable[[Joining], JoinAnswer]


class Folder(msgspec.Struct, frozen=True):
    """Where what somebody is goes: certificate, key, and the folder of what it trusts."""

    certificate: Path
    key: Path
    trust: Path

    @classmethod
    def of(cls, directory: Path) -> "Folder":
        return cls(directory / "certificate.pem", directory / "key.pem", directory / TRUST)


def known_cluster(token: JoinToken, told: ClusterAuthority) -> Authority:
    """The authority of the cluster that the token names; RefusedError if who answered is another one."""
    try:
        said = identity_of(read_certificate(told.certificate)).identity
        if told.cluster != token.cluster or said.key != token.authority:
            raise UntrustedError(f"it is of the cluster {told.cluster[:200]!r} with the key {said.key[:12]}")
        if digest_of(told.root) != token.root:
            raise UntrustedError("it names another first root of the metadata than the token")
        return Authority(told.certificate, token.cluster)
    except UntrustedError as error:
        raise RefusedError(
            f"the server that answered is not of the cluster {token.cluster} of the token, nothing was sent to it",
            hint="is the address right, and the token the right one?",
        ) from error


def check_new(folder: Folder) -> None:
    """Raise RefusedError if somebody has joined from here already."""
    if folder.certificate.exists():
        raise RefusedError(
            f"{folder.certificate} is there: this is a member already",
            hint="to join anew, move certificate.pem and key.pem away first",
        )


def own_key(folder: Folder, joining: Joining, cluster: str) -> Joining:
    """What is asked for, signed by the key in the folder, which is made if it is not there. UsageError, OSError."""
    if not folder.key.exists():
        folder.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder.key, key_pem(new_key()))
    return proved(joining, cluster, load_key(folder.key))


def until_let_in(
    ask: Ask, asked: Joining, waits: Callable[[str], None], sleep: Callable[[float], None], patience: float
) -> JoinAnswer:
    """Ask until the answer has a certificate; `waits` hears the first reason. FailedError after `patience` seconds."""
    answer, waited = ask(asked), 0.0
    if not answer.chain:
        waits(answer.reason)
    while not answer.chain:
        if waited >= patience:
            hint = "the same command goes on waiting, with the same key"
            raise FailedError(f"{asked.id} is not let in yet: {answer.reason}", hint=hint)
        sleep(POLL)
        waited += POLL
        answer = ask(asked)
    return answer


def checked(answer: JoinAnswer, authority: Authority, asked: Joining, key: str) -> Identity:
    """Whom the certificate names; UntrustedError if it is not what was asked for."""
    said = authority.verify(answer.chain[0], answer.chain[1] if len(answer.chain) > 1 else b"").identity
    place = (said.location.chassis, said.location.slot)
    if (said.id, place, said.key) != (asked.id, (asked.chassis, asked.slot), key):
        raise UntrustedError(f"the server sent the certificate of {said.id} in {said.location}, not what was asked for")
    return said


def write_joined(folder: Folder, answer: JoinAnswer, told: ClusterAuthority, role: Role) -> None:
    """Put everything into its place, the certificate last. UsageError if the disk does not take it.

    A server gets a key to sign plans with, too, which nobody believes before the operator has named it in the root.
    """
    try:
        folder.trust.mkdir(parents=True, exist_ok=True)
        write_durably(folder.trust / AUTHORITY, certificate_pem(told.certificate))
        write_durably(folder.trust / ROOT_FILE, told.root)
        online = folder.certificate.parent / ONLINE_KEY
        if role is Role.SERVER:
            write_durably(folder.trust / TARGETS_FILE, told.targets)
            if not online.exists():
                write_private(online, key_pem(new_key()))
        write_durably(folder.certificate, b"".join(map(certificate_pem, answer.chain[:2])))
    except OSError as error:
        raise UsageError(f"{folder.certificate.parent} cannot be written: {os.strerror(error.errno or 0)}") from error
