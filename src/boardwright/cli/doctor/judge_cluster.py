"""What is wrong with a cluster, by what its servers say of themselves, side by side (pure)."""

from collections.abc import Iterable, Iterator

from boardwright.cli.doctor.cluster_facts import ClusterFacts, ServerSeen
from boardwright.cli.doctor.finding import Check, Finding, Level, error, fine, named, warning
from boardwright.cli.doctor.judge_boards import judge_boards
from boardwright.cli.doctor.judge_engine import judge_engine
from boardwright.cli.doctor.judge_storage import judge_disk, judge_quota
from boardwright.model.diagnosis import NOWHERE, CertificateFacts, Diagnosis, NetworkFacts, StoreFacts

LAG = 20  # revisions; the lease is renewed twice a second, so a copy that is that far back is ten seconds old
OFF = 60.0  # seconds of a clock; logs of several servers cannot be read side by side any more
FAR_OFF = 86_400.0  # seconds; then what that server would sign carries the time of the others (design section 4)
ROUNDS = 3.0  # periods of the scrubber; one that is late by that much does not run
UNRENEWED = 75 * 86_400.0  # seconds left of 90; online roles are renewed every day
ENDING = 30 * 86_400.0  # seconds left of what the operator signs; time enough to fetch the keys from where they lie
ONLINE = frozenset({"timestamp", "snapshot", "plans"})  # what the active signs
THIS_COMPUTER = "this computer"


def judge_cluster(facts: ClusterFacts) -> tuple[Finding, ...]:
    """Every finding about the cluster, in the order in which one looks."""
    answers = facts.answers
    return (
        *(_server(one) for one in facts.servers),
        *(_active(answers) if answers else ()),
        *_agreement(answers),
        *_clocks(facts),
        *_releases(answers),
        *_engines(answers, facts.now),
        *(finding for one in answers for finding in _storage(one, facts.now)),
        *_certificates(answers),
        *(_versions(one) for one in answers),
        *_multicast(answers),
        *_alarms(answers),
        *_metadata(answers, facts.now),
        *judge_boards(facts),
    )


def _server(one: ServerSeen) -> Finding:
    if one.diagnosis is not None:
        return fine(Check.SERVER, one.id, f"answers at {one.api}")
    trouble = one.trouble
    what = f"does not answer at {one.api}" if trouble is None else trouble.what
    do = "is that control board on, does boardwright-server run there, does a firewall drop TCP to that port?"
    return error(Check.SERVER, one.id, what, (trouble.do if trouble is not None else "") or do)


def _active(answers: tuple[Diagnosis, ...]) -> Iterator[Finding]:
    active = [one.server for one in answers if one.role == "active"]
    if not active:
        what = "no server that answers is active: changes are not taken, boards are served all the same"
        do = "see the checks engine and server; with an engine that works one is active within four seconds"
        yield error(Check.ACTIVE, "cluster", what, do)
    elif len(active) > 1:
        what = f"{named(active)} say at once that they are active"
        do = "ask again: only while the role changes hands two answers can contradict; else look at their clocks"
        yield error(Check.ACTIVE, "cluster", what, do)
    else:
        yield fine(Check.ACTIVE, "cluster", f"{active[0]} is active")
    for one in answers:
        if len(active) == 1 and one.active not in (active[0], ""):
            what = f"takes {one.active} for the active, which is {active[0]}"
            yield warning(Check.ACTIVE, one.server, what, "ask again; if it stays, look at its engine")


def _agreement(answers: tuple[Diagnosis, ...]) -> Iterator[Finding]:
    generation = max((one.generation for one in answers), default=0)
    epoch = max((one.epoch for one in answers), default=0)
    revision = max((one.revision for one in answers), default=0)
    do = "it follows the state of the engine: look at its engine and disk; restart it if it does not catch up"
    for one in answers:
        behind = []
        if one.generation < generation:
            behind.append(f"knows generation {one.generation} of the plan, the newest is {generation}")
        if one.epoch < epoch:
            behind.append(f"knows epoch {one.epoch} of the lease, the newest is {epoch}")
        if revision - one.revision > LAG:
            behind.append(f"its copy of the state is {revision - one.revision} revisions behind")
        if behind:
            yield warning(Check.AGREEMENT, one.server, "; ".join(behind), do)
        else:
            yield fine(Check.AGREEMENT, one.server, f"knows generation {one.generation}, epoch {one.epoch}")


def _clocks(facts: ClusterFacts) -> Iterator[Finding]:
    """Each clock against the median of all, this computer's included: of two one cannot say which is wrong."""
    ahead = {one.id: one.ahead for one in facts.servers if one.diagnosis is not None}
    if not ahead:
        return
    ordered = sorted((*ahead.values(), 0.0))
    middle = ordered[(len(ordered) - 1) // 2]
    for subject, clock in {**ahead, THIS_COMPUTER: 0.0}.items():
        off = clock - middle
        what = f"its clock is {_span(abs(off))} {'ahead of' if off > 0 else 'behind'} the median of all"
        if not abs(off) > OFF:
            yield fine(Check.CLOCK, subject, "its clock fits the others")
        elif subject == THIS_COMPUTER:
            yield warning(Check.CLOCK, subject, what, "set it, e.g. by NTP: what you sign carries this time")
        elif abs(off) > FAR_OFF:
            yield error(Check.CLOCK, subject, what, "set it, e.g. by NTP; meanwhile the time of the others is signed")
        else:
            yield warning(Check.CLOCK, subject, what, "set it, e.g. by NTP: logs of several servers do not fit")


def _span(seconds: float) -> str:
    if seconds > 2 * 86_400:
        return f"{seconds / 86_400:.0f} days"
    return f"{seconds / 3600:.1f} hours" if seconds > 7200 else f"{seconds:.0f} s"


def _releases(answers: tuple[Diagnosis, ...]) -> Iterator[Finding]:
    by_release: dict[str, list[str]] = {}
    for one in answers:
        by_release.setdefault(one.release, []).append(one.server)
    if len(by_release) > 1:
        said = "; ".join(f"{release}: {named(servers)}" for release, servers in sorted(by_release.items()))
        do = "bring all servers to the same release of Boardwright; two neighbouring ones work together meanwhile"
        yield warning(Check.RELEASE, "cluster", f"servers run several releases ({said})", do)
    elif by_release:
        yield fine(Check.RELEASE, "cluster", f"all servers run {next(iter(by_release))}")


def _engines(answers: tuple[Diagnosis, ...], now: float) -> Iterator[Finding]:
    for one in answers:
        if one.waits:
            do = "boards are served meanwhile; the checks engine-* say what the engine lacks"
            yield error(Check.ENGINE, one.server, f"takes no changes: {one.waits}", do)
        else:
            yield fine(Check.ENGINE, one.server, "reaches the engine")
    # What several servers see alike is one finding.
    alike: dict[tuple[Check, Level, str, str, str], list[str]] = {}
    for one in answers:
        for finding in judge_engine(one.server, one.engine, now):
            about = finding.subject.removeprefix(one.server).strip()
            alike.setdefault((finding.check, finding.level, about, finding.what, finding.do), []).append(one.server)
    for (check, level, about, what, do), servers in alike.items():
        seen_by = f"seen by {named(servers)}"
        yield Finding(check, f"{about}, {seen_by}" if about else seen_by, level, what, do)


def _storage(one: Diagnosis, now: float) -> Iterator[Finding]:
    subject = f"{one.server} {one.disk.path}".strip()
    yield judge_disk(subject, one.disk)
    store: StoreFacts = one.store
    if store.damaged:
        what = f"{store.damaged} blobs are damaged and not repaired yet"
        do = "look at the disk (`dmesg`, SMART); what no other server has, publish again"
        yield error(Check.STORE, subject, what, do)
    elif store.quota:
        yield judge_quota(subject, store.used, store.quota)
    else:
        yield fine(Check.STORE, subject, "nothing is damaged")
    if store.period and store.scrubbed and now - store.scrubbed > ROUNDS * store.period:
        what = f"the store was read as a whole {_span(now - store.scrubbed)} ago last"
        yield warning(Check.SCRUBBER, one.server, what, "restart the server; if it stays so, look at the disk")
    else:
        yield fine(Check.SCRUBBER, one.server, "looks for damage" if store.period else "is switched off")


def _certificates(answers: tuple[Diagnosis, ...]) -> Iterator[Finding]:
    shown = [one.certificate.authority for one in answers if one.certificate.authority]
    usual = max(sorted(set(shown)), key=shown.count, default="")
    keys: dict[str, str] = {}
    for one in answers:
        certificate: CertificateFacts = one.certificate
        listed = one.listed.get(one.server)
        if not certificate.id:
            continue  # an older release does not say
        trouble = ""
        if certificate.authority != usual:
            trouble = "it is of another authority than most servers'"
        elif certificate.id != one.server or certificate.role != "server":
            trouble = f"it is that of the {certificate.role} {certificate.id}"
        elif keys.setdefault(certificate.key, one.server) != one.server:
            trouble = f"it has the same key as {keys[certificate.key]}'s"
        if trouble:
            do = "copy the folder that `boardwright init` made for that control board, and restart its server"
            yield error(Check.CERTIFICATE, one.server, trouble, do)
        else:
            yield fine(Check.CERTIFICATE, one.server, "is its own, by the cluster's authority")
        places = {"its certificate": certificate.location, "its configuration": certificate.said}
        if listed is not None:
            places["the inventory"] = listed
        if len({place for place in places.values() if place != NOWHERE}) > 1:
            what = ", ".join(f"{who} says {place}" for who, place in places.items())
            do = "correct the configuration, or certify it anew for its slot; boards choose by the certificate"
            yield error(Check.LOCATION, one.server, what, do)
        else:
            yield fine(Check.LOCATION, one.server, f"sits in {certificate.location}")


def _versions(one: Diagnosis) -> Finding:
    if one.health.startswith("no room"):
        return error(Check.VERSIONS, one.server, f"{one.health}", "make room, or raise [limits] store_quota")
    if one.lacking:
        what = f"does not hold {named(one.lacking)} (yet): it offers them when it does"
        do = "wait while it copies; if it stays so, see its disk and whether it reaches the other servers' blobs"
        return warning(Check.VERSIONS, one.server, what, do)
    return fine(Check.VERSIONS, one.server, f"holds all {len(one.versions)} versions")


def _multicast(answers: tuple[Diagnosis, ...]) -> Iterator[Finding]:
    """Every server asked; who answers for the doctor and not on the control network was not reached there."""
    alive = [one.server for one in answers]
    groups = {one.network.group for one in answers if one.network.group}
    if len(groups) > 1:
        what = f"servers use several groups: {named(sorted(groups))}"
        yield error(Check.MULTICAST, "cluster", what, "give all the same [cluster] multicast")
    for one in answers:
        network: NetworkFacts = one.network
        if not network.group:
            yield fine(Check.MULTICAST, one.server, "works by addresses, without multicast")
            continue
        deaf = [server for server in alive if server not in network.heard]
        subject = f"{one.server} {network.group}"
        if network.trouble:
            do = "look at [cluster] interface there: it has to be up and have an address"
            yield error(Check.MULTICAST, subject, network.trouble, do)
        elif one.server in deaf:
            what = "does not hear its own multicast"
            do = "a firewall of that host drops UDP to the group, or its interface was taken away"
            yield error(Check.MULTICAST, subject, what, do)
        elif deaf:
            yield _unheard(subject, network, deaf)
        else:
            yield fine(Check.MULTICAST, subject, f"is answered by {len(network.heard)} servers")


def _unheard(subject: str, network: NetworkFacts, deaf: list[str]) -> Finding:
    what = f"asked by multicast and {named(deaf)} did not answer, though it answers here"
    by_address = [server for server in deaf if server in network.heard_by_address]
    if by_address:
        what += f"; {named(by_address)} answers when it is asked by its address"
    do = (
        "boards there miss that server: let the switches flood or snoop this group (IGMP snooping needs a querier in "
        "the network), let no firewall drop UDP to it; or list addresses (peers, servers)"
    )
    return (warning if by_address == deaf else error)(Check.MULTICAST, subject, what, do)


ALARMS = {
    "duplicate-id": "give one of the two another id",
    "slot-conflict": "look which one lies; change cluster.toml for a card that was moved, revoke one that is gone",
    "damaged-blob": "nothing if it goes away (repaired from a peer); else look at the disk",
    "disk": "make room on that server's disk",
    "quota": "raise store_quota, or deploy newer versions everywhere",
    "flood": "look who sends them: the alarm names the last sender",
    "audit": "`boardwright audit` says more; look at what was set aside, then move it away: docs/operate/audit.md",
    "arbitration": "run the command by hand on that control board: docs/operate/active.md",
    "restore": "if the state was lost or set back, restore it from a backup: docs/operate/backup.md",
    "clock": "set the clock of that control board",
}
ELSEWHERE = frozenset({"silent-board", "location-conflict"})  # alarms that the check `boards` speaks of


def _alarms(answers: tuple[Diagnosis, ...]) -> Iterator[Finding]:
    sounding = [alarm for one in answers for alarm in one.alarms if alarm.kind not in ELSEWHERE]
    for alarm in sounding:
        do = ALARMS.get(alarm.kind, "see the alarms in docs/json.md")
        yield warning(Check.ALARM, f"{alarm.server} {alarm.kind} {alarm.subject}", alarm.sentence, do)
    if answers and not sounding:
        yield fine(Check.ALARM, "cluster", "no alarm sounds")


def _metadata(answers: Iterable[Diagnosis], now: float) -> Iterator[Finding]:
    """By role, as the server has it that has the newest."""
    ends: dict[str, float] = {}
    for one in answers:
        for role, when in one.expires.items():
            ends[role] = max(when, ends.get(role, when))
    for role, when in sorted(ends.items()):
        left = when - now
        what = f"ends in {left / 86_400:.0f} days" if left > 0 else "has ended: boards take no new plan"
        do = "only an active renews it: see the checks active and engine, and the clocks"
        if role not in ONLINE:
            do = "sign it anew: see docs/operate/trust.md"
        if left <= 0:
            yield error(Check.METADATA, role, what, do)
        elif left < (UNRENEWED if role in ONLINE else ENDING):
            yield warning(Check.METADATA, role, what, do)
        else:
            yield fine(Check.METADATA, role, what)
