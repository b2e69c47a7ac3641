"""What is wrong with an engine, by what it said of itself to whoever uses it (pure)."""

from collections.abc import Iterator

from boardwright.cli.doctor.finding import Check, Finding, error, fine, named, warning
from boardwright.model.diagnosis import EndpointFacts, EngineFacts

DEFAULT_QUOTA = 2 * 1024**3  # bytes; etcd's own, which it does not tell before release 3.6
NEARLY = 0.8  # of the quota: compaction and defragmentation want room, too
FULL = "NOSPACE"  # etcd's name of the alarm in its status
JOURNAL = 256 * 1024 * 1024  # bytes; it is a few megabytes as long as checkpoints get through
SOON = 30 * 86_400.0  # seconds before a certificate ends; a maintenance window comes in time
HEALTHY_VOTERS = 3  # fewer survive the loss of nobody
DEFRAGMENT = "docs/state.md says what etcd must be given (auto compaction); then `etcdctl compact` and `etcdctl defrag`"


def judge_engine(where: str, engine: EngineFacts, now: float) -> Iterator[Finding]:
    """Findings about the engine as `where` (a server's id) sees it; `now` since the epoch."""
    if engine.kind == "sqlite":
        yield _file(where, engine)
    elif engine.kind == "etcd":
        yield from _members(where, engine)
        for endpoint in engine.endpoints:
            yield from _endpoint(where, endpoint, now)


def _file(where: str, engine: EngineFacts) -> Finding:
    subject = f"{where} {engine.file}"
    if engine.trouble:
        do = "is the file there, and may the server's user read and write it? Changes wait until then"
        return error(Check.ENGINE_FILE, subject, engine.trouble, do)
    if engine.journal != "wal":
        what = f"its journal is of the mode {engine.journal}, not WAL: readers hold up changes"
        return warning(Check.ENGINE_FILE, subject, what, "put it onto a local file system, not a network's; restart")
    if engine.journal_bytes > JOURNAL:
        what = f"its journal has grown to {engine.journal_bytes // 1_000_000} MB: something keeps it from being joined"
        return warning(Check.ENGINE_FILE, subject, what, "end programs that read the file, then restart the server")
    return fine(Check.ENGINE_FILE, subject, "can be read")


def _members(where: str, engine: EngineFacts) -> Iterator[Finding]:
    answering = [one for one in engine.endpoints if not one.trouble]
    if engine.trouble or not answering:
        what = engine.trouble or f"no endpoint of etcd answers: {named([one.endpoint for one in engine.endpoints])}"
        do = "start the members (`systemctl status etcd`); what is committed is served meanwhile, changes wait"
        yield error(Check.ENGINE_QUORUM, where, what, do)
        return
    if any(one.has_leader for one in answering):
        yield fine(Check.ENGINE_QUORUM, where, "etcd has a leader")
    else:
        what = "the members of etcd that answer have no leader: most of them are down or do not reach each other"
        yield error(Check.ENGINE_QUORUM, where, what, "start the others, and look at the network between them")
    voters = max(one.voters for one in answering)
    if voters == 2:
        what = "etcd has two voters: if either of them dies, nobody takes changes"
        do = "add a third one, a witness on a line board is enough: see docs/operate"
        yield warning(Check.ENGINE_VOTERS, where, what, do)
    elif voters and voters % 2 == 0:
        what = f"etcd has {voters} voters and survives the loss of no more than {voters - 1} would"
        yield warning(Check.ENGINE_VOTERS, where, what, "add one, or remove one")
    else:
        yield fine(Check.ENGINE_VOTERS, where, f"etcd has {voters} voters")


def _endpoint(where: str, one: EndpointFacts, now: float) -> Iterator[Finding]:
    subject = f"{where} {one.endpoint}"
    if one.trouble:
        do = "start that member, and look at its log and at the network to it"
        if "trust" in one.trouble:
            do = (
                "ca, certificate and key of [state] must be of the authority that the member trusts, and its name right"
            )
        yield error(Check.ENGINE_ENDPOINT, subject, one.trouble, do)
        return
    if one.is_learner:
        what = "this member only learns yet: it has no vote"
        yield warning(Check.ENGINE_ENDPOINT, subject, what, "`etcdctl member promote` when it has caught up")
    elif not one.has_leader:
        yield error(Check.ENGINE_ENDPOINT, subject, "this member sees no leader", "look at the network to the others")
    else:
        yield fine(Check.ENGINE_ENDPOINT, subject, f"answers, release {one.release}")
    yield _space(subject, one)
    if one.expires is not None:
        yield _certificate(subject, one.expires - now)


def _space(subject: str, one: EndpointFacts) -> Finding:
    quota = one.quota or DEFAULT_QUOTA
    used = f"{one.database // 1_000_000} MB of {quota // 1_000_000} MB"
    if any(FULL in said for said in one.errors):
        do = f"{DEFRAGMENT}, then `etcdctl alarm disarm`"
        return error(Check.ENGINE_SPACE, subject, f"the database is full ({used}): no change is taken", do)
    others = [said for said in one.errors if "leader" not in said]
    if others:
        return error(Check.ENGINE_SPACE, subject, f"etcd says: {named(others)}", "look at that member's log")
    if one.database > NEARLY * quota:
        what = f"the database is nearly full: {used}, {one.in_use // 1_000_000} MB of it in use"
        return warning(Check.ENGINE_SPACE, subject, what, DEFRAGMENT)
    return fine(Check.ENGINE_SPACE, subject, used)


def _certificate(subject: str, left: float) -> Finding:
    if left <= 0:
        what = f"its certificate ended {-left / 86_400:.0f} days ago"
        return error(Check.ENGINE_CERTIFICATE, subject, what, "give the member a new one and restart it")
    if left < SOON:
        what = f"its certificate ends in {left / 86_400:.0f} days"
        return warning(Check.ENGINE_CERTIFICATE, subject, what, "give the member a new one and restart it")
    return fine(Check.ENGINE_CERTIFICATE, subject, f"its certificate lasts {left / 86_400:.0f} days")
