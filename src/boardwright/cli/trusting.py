"""`boardwright trust`: who may sign what, shown and changed by the operator (design section 4).

Rules:

* Everything is signed here, with the keys in the operator's folder, on top of what the cluster has, which is verified
  from the operator's own first root. The cluster takes a change whole or not at all.
* A new key is on the disk before anybody is told of it, and the old one until the cluster has taken the new. It is
  locked as the old one was, by the same passphrase.
"""

import time
from pathlib import Path
from typing import Annotated

import typer

from boardwright.cli import output
from boardwright.cli.enrolling import KEYS, ROOT_KEY, TARGETS_KEY, write_private
from boardwright.cli.output import Format, FormatOption
from boardwright.cli.session import OperatorOption, connect, operator_folder, secret_of
from boardwright.cli.signing import verified
from boardwright.errors import RefusedError, UsageError
from boardwright.model.api import TrustChange
from boardwright.model.software import check_name
from boardwright.net.api_client import ApiClient
from boardwright.trust.credentials import load_key
from boardwright.trust.issuing import key_pem, new_key
from boardwright.trust.keys import Secret, is_locked, open_key, read_public
from boardwright.trust.names import ONLINE_KEY, TARGETS, group_role
from boardwright.trust.offline import (
    RootKeys,
    SigningKey,
    delegate_group,
    delegate_plans,
    delegated_groups,
    delegated_keys,
    next_root,
    online_key,
    signer_of,
)
from boardwright.trust.online import SignedRoles

trust = typer.Typer(no_args_is_help=True, help="Show and change who may sign what.", rich_markup_mode=None)
_NEXT = ".next"  # a key that the cluster has not taken yet


@trust.command("show")
def show(context: typer.Context, operator: OperatorOption = None, form: FormatOption = Format.TABLE) -> None:
    """Show which keys sign what, and until when."""
    folder = operator_folder(context, operator)
    with connect(context, operator) as client:
        roles = verified(folder, client.signed_metadata())
    keys = RootKeys.of(roles.roots[-1])
    delegated = {group: delegated_keys(roles.roles[TARGETS], group) for group in delegated_groups(roles.roles[TARGETS])}
    own = {key.keyid for key in keys.targets}
    document = {
        "root": len(roles.roots),
        "servers": {server: key.keyid for server, key in sorted(keys.servers.items())},
        "groups": {group: list(found) for group, found in delegated.items()},
        "expires": roles.expires,
    }
    if form is Format.JSON:
        output.show_json(document)
        return
    output.say(f"root {len(roles.roots)}, signed by {', '.join(key.keyid[:12] for key in keys.root)}")
    for server, key in sorted(keys.servers.items()):
        output.say(f"server {server} signs plans and the newest state with {key.keyid[:12]}")
    for group, found in delegated.items():
        who = "the operator" if own & set(found) else "its vendor"
        output.say(f"group {group} is signed by {who} with {', '.join(key[:12] for key in found)}")
    for role, until in sorted(roles.expires.items()):
        output.say(f"{role} ends {until}")


@trust.command("rotate-root")
def rotate_root(context: typer.Context, operator: OperatorOption = None) -> None:
    """Make a new root key and let the cluster trust it instead of the old one."""
    folder = operator_folder(context, operator)
    place, secret = folder / KEYS / ROOT_KEY, secret_of(context)
    with connect(context, operator) as client:
        roles = verified(folder, client.signed_metadata())
        old = signer_of(open_key(place, secret))  # first: the passphrase is the right one from here on
        new = place.with_name(ROOT_KEY + _NEXT)
        if not new.exists():  # else one that was made and not taken: the cluster has not heard of it
            write_private(new, key_pem(new_key(), secret(str(place)) if is_locked(place) else ""))
        heir = signer_of(open_key(new, secret))
        keys = RootKeys.of(roles.roots[-1])
        keys = RootKeys([heir.public_key], keys.targets, keys.online)
        client.change_trust(TrustChange(root=next_root(roles.roots[-1], keys, [old, heir], time.time())))
    new.replace(place)
    output.say(f"root {len(roles.roots) + 1}: the new key is in {place}")


@trust.command("drop-server")
def drop_server(
    context: typer.Context,
    server: Annotated[str, typer.Argument(metavar="ID", help="The control board.")],
    operator: OperatorOption = None,
) -> None:
    """Take a control board's key out: nothing that it signs is believed any more."""
    folder = operator_folder(context, operator)
    with connect(context, operator) as client:
        roles = verified(folder, client.signed_metadata())
        _change_servers(folder, secret_of(context), client, roles, RootKeys.of(roles.roots[-1]).without(server))
    output.say(f"{server} signs nothing any more; revoke its certificate, too, if it was stolen")


@trust.command("add-server")
def add_server(
    context: typer.Context,
    server: Annotated[str, typer.Argument(metavar="ID", help="The control board that `init --add` made.")],
    operator: OperatorOption = None,
) -> None:
    """Let a control board that joined later sign while it is active."""
    folder = operator_folder(context, operator)
    place = folder.absolute().parent / server / ONLINE_KEY
    key = online_key(signer_of(load_key(place)), server)
    with connect(context, operator) as client:
        roles = verified(folder, client.signed_metadata())
        _change_servers(folder, secret_of(context), client, roles, RootKeys.of(roles.roots[-1]).with_server(key))
    output.say(f"{server} may sign while it is active")


@trust.command("delegate")
def delegate(
    context: typer.Context,
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The software group.")],
    key: Annotated[Path, typer.Argument(metavar="KEY", help="The vendor's public key (PEM).")],
    operator: OperatorOption = None,
    too: Annotated[bool, typer.Option("--too", help="The operator goes on signing it as well.")] = False,
) -> None:
    """Let a vendor's key sign the versions of a group, and nobody else's."""
    check_name("group", group)
    folder = operator_folder(context, operator)
    public = read_public(key)
    with connect(context, operator) as client:
        roles = verified(folder, client.signed_metadata())
        signer = _targets_key(folder, secret_of(context))
        if group_role(group) in roles.roles and not too:
            raise RefusedError(
                f"the group {group} has versions, signed by keys that would not be believed any more",
                hint="with --too both keys sign it; without, delegate a group before its first version",
            )
        keys = [public, signer.public_key] if too else [public]
        targets = delegate_group(roles.roles[TARGETS], group, keys, signer, time.time())
        client.change_trust(TrustChange(targets=targets))
    others = "and by the operator" if too else "and by nobody else"
    output.say(f"the group {group} is signed by the key {public.keyid[:12]} {others}")


def _change_servers(folder: Path, secret: Secret, client: ApiClient, roles: SignedRoles, keys: RootKeys) -> None:
    """The next root and the next targets with these online keys."""
    signer = signer_of(open_key(folder / KEYS / ROOT_KEY, secret))
    now = time.time()
    root = next_root(roles.roots[-1], keys, [signer], now)
    targets = delegate_plans(roles.roles[TARGETS], keys.online, _targets_key(folder, secret), now)
    client.change_trust(TrustChange(root=root, targets=targets))


def _targets_key(folder: Path, secret: Secret) -> SigningKey:
    path = folder / KEYS / TARGETS_KEY
    if not path.exists():
        raise UsageError(f"{path} is missing: without it nothing is signed", hint="bring back the operator's folder")
    return signer_of(open_key(path, secret))
