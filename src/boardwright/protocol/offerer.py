"""What a server answers to a version request (M2, M7; design section 3).

Rules:

* One offer per request; it says where the server sits, how loaded it is, how new its plan is and how to get files.
* For each group that the request names and the server's plan knows for that board: the planned version, with what
  the server has of it. For each manifest that the board already wants (``want``) and the server knows: the same,
  marked as not planned. So a server with an old plan still serves the version that the board knows it needs.
* What the board rolled back from (``withheld``) is not offered to it, planned or asked for.
* What is not held completely is never offered as such: only the catalogue of holdings says ``ALL``.
* An offer without groups is still an answer: the board need not wait for this server any longer.

A relay (a board that serves its neighbours, ``answer_as_relay``) names no plan and knows no board's part of it: it
answers boards of its own chassis for manifests of which it has a verified piece, and is silent else.
"""

from collections.abc import Mapping

import msgspec

from boardwright.model.location import Location
from boardwright.model.plan import BoardPlan
from boardwright.protocol.messages import GroupOffer, GroupQuery, Holding, Offer, Request


class Catalogued(msgspec.Struct, frozen=True):
    """One version that the server knows: its name, what the server has of it, and for a part the pieces' bitmap.

    `copied`: bytes that it has copied so far, None: it is not at it.
    """

    version: str
    holding: Holding
    pieces: bytes = b""
    copied: int | None = None


class ServerFacts(msgspec.Struct, frozen=True):
    """Who and where the server is; `api` and `blobs` are base URLs without a slash at the end."""

    cluster: str
    server: str
    location: Location
    api: str
    blobs: str
    relay: bool = False


def answer(
    request: Request,
    facts: ServerFacts,
    plan: BoardPlan,
    holdings: Mapping[bytes, Catalogued],
    load: int,
    revocations: int = 0,
) -> Offer | None:
    """The offer for `request`, or None if it is of another cluster.

    `plan` is the requesting board's part of the plan, `holdings` what the server knows by manifest digest
    (32 bytes), `load` the used share of the admission bound in thousandths, `revocations` the number of its list of
    revoked keys.
    """
    if request.cluster != facts.cluster:
        return None
    groups: dict[tuple[str, bytes], GroupOffer] = {}
    for query in request.groups:
        for offered in (_planned(query, plan, holdings), _wanted(query, plan, holdings)):
            if offered is not None:
                groups.setdefault((offered.group, offered.manifest), offered)
    return Offer(
        cluster=facts.cluster,
        nonce=request.nonce,
        server=facts.server,
        chassis=facts.location.chassis,
        slot=facts.location.slot,
        generation=plan.generation,
        api=facts.api,
        blobs=facts.blobs,
        load=load,
        relay=facts.relay,
        groups=tuple(groups.values()),
        revocations=revocations,
    )


MAX_BITMAP = 320  # bytes: 2,560 pieces; with that, certificate, signature and names fit into a datagram
MAX_BITMAP_ENROLLED = 64  # with the enroller's certificate in it, too


def answer_as_relay(
    request: Request, facts: ServerFacts, holdings: Mapping[bytes, Catalogued], load: int, most: int = MAX_BITMAP
) -> Offer | None:
    """What a board offers a neighbour that asks, None if it has nothing for it; `holdings` by manifest digest.

    A bitmap of more than `most` bytes is left out: the neighbour asks for it.
    """
    near = (request.cluster, request.chassis) == (facts.cluster, facts.location.chassis)
    if not near or not request.board_type or request.board == facts.server:  # without a type it is a server that asks
        return None
    offered = (_wanted(query, _NO_PLAN, holdings) for query in request.groups)
    groups = tuple(
        one if len(one.pieces) <= most else msgspec.structs.replace(one, pieces=b"")
        for one in offered
        if one is not None
    )
    if not groups:
        return None
    return Offer(facts.cluster, request.nonce, blobs=facts.blobs, load=load, relay=True, groups=groups)


_NO_PLAN = BoardPlan(0)


def _planned(query: GroupQuery, plan: BoardPlan, holdings: Mapping[bytes, Catalogued]) -> GroupOffer | None:
    target = plan.groups.get(query.group)
    if target is None:
        return None
    digest = bytes.fromhex(target.manifest)
    held = holdings.get(digest)
    if held is None:
        return GroupOffer(query.group, target.version, digest, Holding.NONE)
    return GroupOffer(query.group, target.version, digest, held.holding, pieces=held.pieces, copied=held.copied)


def _wanted(query: GroupQuery, plan: BoardPlan, holdings: Mapping[bytes, Catalogued]) -> GroupOffer | None:
    held = holdings.get(query.want) if query.want is not None else None
    if query.want is None or held is None:
        return None
    withheld = plan.withheld.get(query.group)
    if withheld is not None and withheld.target.manifest == query.want.hex():
        return None
    return GroupOffer(
        query.group, held.version, query.want, held.holding, planned=False, pieces=held.pieces, copied=held.copied
    )
