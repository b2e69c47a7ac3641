"""What is wrong with one node, by what was found out on it (pure)."""

from collections.abc import Iterator, Sequence

from boardwright.cli.doctor.finding import Check, Finding, error, fine, named, warning
from boardwright.cli.doctor.judge_engine import judge_engine
from boardwright.cli.doctor.judge_storage import judge_disk, judge_quota
from boardwright.cli.doctor.node_facts import InterfaceFacts, NodeFacts, PortFacts, ServerFacts, Trouble, WayFacts

BEHIND = 300.0  # seconds that a clock may be behind a signed time: control boards' clocks differ by that, too
AHEAD = 60 * 86_400.0  # seconds ahead of the newest signed time: after 90 days signed metadata counts as expired
SLOW = 0.15  # seconds from request to answer; what a board needs to choose in time (design section 3)
ASK_SNOOPING = (
    "let the switches of the control network flood or snoop this group: IGMP snooping needs a querier in the network, "
    "and no firewall may drop UDP to it"
)


def judge_node(facts: NodeFacts) -> tuple[Finding, ...]:
    """Every finding about the node, in the order in which one looks."""
    if facts.config_trouble is not None:
        return (_troubled(Check.CONFIG, facts.config, facts.config_trouble),)
    return (
        fine(Check.CONFIG, facts.config, f"the {facts.program} of {facts.id}"),
        *_identity(facts),
        *(_interface(one) for one in facts.interfaces),
        *_multicast(facts),
        *_servers(facts),
        *(judge_disk(one.path, one) for one in facts.disks),
        *_store(facts),
        *_clock(facts),
        *_ledger(facts),
        *_program(facts),
        *(_port(facts.id, one) for one in facts.ports),
        *(judge_engine(facts.id, facts.engine, facts.clock.wall) if facts.engine is not None else ()),
    )


def _troubled(check: Check, subject: str, trouble: Trouble) -> Finding:
    return error(check, subject, trouble.what, trouble.do)


def _identity(facts: NodeFacts) -> Iterator[Finding]:
    if facts.certificate_trouble is not None:
        yield _troubled(Check.CERTIFICATE, facts.certificate, facts.certificate_trouble)
    else:
        yield fine(Check.CERTIFICATE, facts.certificate, f"{facts.id} is {facts.role} by the cluster's word")
    if facts.online_key_trouble is not None:
        yield _troubled(Check.ONLINE_KEY, facts.id, facts.online_key_trouble)
    elif facts.program == "server":
        yield fine(Check.ONLINE_KEY, facts.id, "can be used")
    if facts.certified is None:
        return
    if facts.certified != facts.said:
        what = f"the configuration says {facts.said}, the certificate {facts.certified}: nothing is activated"
        do = "correct [board] chassis and slot, or certify the board anew for its slot; then restart its agent"
        yield error(Check.LOCATION, facts.id, what, do)
    else:
        yield fine(Check.LOCATION, facts.id, f"sits in {facts.said}")


def _interface(one: InterfaceFacts) -> Finding:
    if one.trouble is not None:
        return _troubled(Check.INTERFACE, one.name, one.trouble)
    if not one.is_up or one.state in ("down", "lowerlayerdown"):
        what = f"the interface is down ({one.state or 'not up'})" if one.is_up else "the interface is switched off"
        do = f"`ip link set {one.name} up`; is the cable or the backplane's port alive?"
        return error(Check.INTERFACE, one.name, what, do)
    return fine(Check.INTERFACE, one.name, f"is up and has {one.address}")


def _multicast(facts: NodeFacts) -> Iterator[Finding]:
    way = facts.multicast
    if way is None:
        return
    if way.trouble:
        do = "name an interface of the control network that is up in [cluster] interface"
        yield error(Check.MULTICAST, way.address, way.trouble, do)
        return
    if not way.looped:
        what = "this host does not even hear what it sends to the group itself"
        do = f"a firewall of this host drops UDP to {way.address}, or another program holds that port for itself"
        yield error(Check.MULTICAST, way.address, what, do)
        return
    by_list = facts.unicast.heard if facts.unicast is not None else {}
    deaf = [one.id for one in facts.servers if one.id not in way.heard and (_reached(one) or one.id in by_list)]
    if not deaf:
        if way.heard:
            yield fine(Check.MULTICAST, way.address, f"{len(way.heard)} servers answer")
        return
    what = f"{named(sorted(deaf))} can be reached and did not answer by multicast"
    judged = warning if way.heard or by_list else error
    yield judged(Check.MULTICAST, way.address, what, ASK_SNOOPING)


def _reached(one: ServerFacts) -> bool:
    return one.api_trouble is None


def _servers(facts: NodeFacts) -> Iterator[Finding]:
    if facts.certified is None:
        return
    ways = [way for way in (facts.multicast, facts.unicast) if way is not None]
    heard: dict[str, float] = {}
    for way in ways:
        for server, seconds in way.heard.items():
            heard[server] = min(seconds, heard.get(server, seconds))
    if not heard:
        yield error(Check.SERVERS, facts.id, f"no server answered{_unbelieved(ways)}", _hint_of(ways))
    for one in facts.servers:
        subject = f"{one.id} ({one.tier})"
        if one.id in heard:
            what = f"answers in {heard[one.id] * 1000:.0f} ms"
            slow = heard[one.id] > SLOW
            do = "look at that server's load and at the network to it"
            yield warning(Check.SERVERS, subject, what, do) if slow else fine(Check.SERVERS, subject, what)
        elif _reached(one):
            what = "did not answer on the control network, though its API does"
            yield warning(Check.SERVERS, subject, what, "see the check multicast")
        else:
            what = "answered before and does not now, neither on the control network nor by its API"
            yield warning(Check.SERVERS, subject, what, "is that control board still there? Others serve meanwhile")
        yield from _lines(one, one.id in heard)


def _lines(one: ServerFacts, heard: bool) -> Iterator[Finding]:
    """What its two ports say; of one that is gone altogether enough was said."""
    for check, url, trouble in ((Check.API, one.api, one.api_trouble), (Check.BLOBS, one.blobs, one.blobs_trouble)):
        if not url:
            continue
        subject = f"{one.id} {url}"
        if trouble is None:
            yield fine(check, subject, "lets this node in")
        elif heard:
            do = trouble.do or "no firewall may drop TCP to that port, and both ends must be of one cluster"
            yield error(check, subject, trouble.what, do)


def _unbelieved(ways: Sequence[WayFacts]) -> str:
    counts: dict[str, int] = {}
    for way in ways:
        for reason, count in way.ignored.items():
            counts[reason] = counts.get(reason, 0) + count
    said = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"; not believed: {said}" if said else ""


def _hint_of(ways: Sequence[WayFacts]) -> str:
    reasons = {reason for way in ways for reason in way.ignored}
    if reasons & {"untrusted", "foreign-cluster"}:
        return "another cluster is on this network: check [cluster] name, trust/ and the VLAN of this board"
    return "does a server run, and is this the control network (interface, VLAN, multicast group)?"


def _store(facts: NodeFacts) -> Iterator[Finding]:
    if facts.store is not None and facts.store.quota:
        yield judge_quota(facts.store.path, facts.store.used, facts.store.quota)


def _clock(facts: NodeFacts) -> Iterator[Finding]:
    wall, floor = facts.clock.wall, facts.clock.floor
    if not floor:
        return
    if wall < floor - BEHIND:
        what = f"the clock is {_span(floor - wall)} behind the newest time that the cluster signed"
        do = "set it, e.g. by NTP; until then this board goes by the signed time, and its logs tell wrong times"
        yield warning(Check.CLOCK, facts.id, what, do)
    elif wall > floor + AHEAD:
        what = f"the clock is {_span(wall - floor)} ahead of the newest time that the cluster signed"
        do = "set it if it is wrong: after 90 days signed metadata counts as expired; else this board was away for long"
        yield warning(Check.CLOCK, facts.id, what, do)
    else:
        yield fine(Check.CLOCK, facts.id, "fits the newest signed time")


def _span(seconds: float) -> str:
    return f"{seconds / 86_400:.0f} days" if seconds > 2 * 86_400 else f"{seconds / 60:.0f} minutes"


def _ledger(facts: NodeFacts) -> Iterator[Finding]:
    if facts.ledger_trouble:
        do = "restart the agent: it sets the file aside and adopts what runs; it has forgotten bad versions then"
        if facts.program == "server":
            do = "restart the server: it copies the state from the engine again; is the disk sound?"
        yield warning(Check.LEDGER, facts.ledger, facts.ledger_trouble, do)
    elif facts.ledger:
        yield fine(Check.LEDGER, facts.ledger, "can be read")


def _program(facts: NodeFacts) -> Iterator[Finding]:
    subject = f"boardwright-{facts.program}"
    if facts.runs is False:
        do = f"`systemctl status {subject}`; `boardwright install-units` lets systemd run it"
        yield error(Check.PROGRAM, subject, f"does not run here: nobody holds {facts.lock}", do)
    elif facts.runs:
        yield fine(Check.PROGRAM, subject, "runs")


def _port(own: str, one: PortFacts) -> Finding:
    subject = f"{one.what} {one.address}"
    if one.server == own:
        return fine(Check.PORT, subject, "this server answers")
    if one.server:
        what = f"{one.server} answers at this server's address"
        return error(Check.PORT, subject, what, "give one of the two another address")
    if one.taken:
        what = f"something answers that is not this server: {one.trouble}"
        do = f"find out what it is (`ss -ltnp`), end it or change [server] {one.what}"
        return error(Check.PORT, subject, what, do)
    return warning(Check.PORT, subject, f"nobody answers: {one.trouble}", "see the check program")
