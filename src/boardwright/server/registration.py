"""A server announces itself in the state, so that the others and the operators know where it is."""

import threading

import msgspec

from boardwright import log
from boardwright.errors import BoardwrightError
from boardwright.server.facts import encoded
from boardwright.state.kv import KV, Transaction
from boardwright.state.records import SERVERS, ServerRecord

EVERY = 5.0  # seconds between looks whether the record still says the truth (a restored backup may not)
RETRY = 0.5  # seconds after a try that failed
_log = log.get("server.registration")


def keep_registered(kv: KV, record: ServerRecord, stop: threading.Event) -> None:
    """Write the record until it is there, and again whenever it is not; blocks until `stop`."""
    pause = 0.0
    while not stop.wait(pause):
        try:
            register(kv, record)
            pause = EVERY
        except BoardwrightError as error:
            if pause != RETRY:
                _log.warning("not registered yet, trying again", error=str(error))
            pause = RETRY


def register(kv: KV, record: ServerRecord) -> bool:
    """Make the state say `record`; False if it did. ConflictError, EngineError."""
    key = f"{SERVERS}{record.id}"
    entry = kv.get(key)
    if entry is not None:
        try:
            if msgspec.json.decode(entry.value, type=ServerRecord) == record:
                return False
        except msgspec.MsgspecError:
            pass  # of another release: replaced by what this one knows to be true
    kv.commit(Transaction({key: entry.revision if entry else 0}, {key: encoded(record)}))
    return True
