"""What is wrong with a disk or a store, on a node as in the cluster (pure)."""

from boardwright.cli.doctor.finding import Check, Finding, error, fine, warning
from boardwright.model.diagnosis import DiskFacts

SOON = 2.0  # times the reserve; from there on servers sound their alarm, too
NEARLY = 0.95  # of a quota
MAKE_ROOM = "make room on this file system"


def judge_disk(subject: str, disk: DiskFacts) -> Finding:
    """Whether a program can write there, and for how long."""
    if disk.trouble:
        do = "mount it, or give it to the user that the program runs as"
        return error(Check.DISK, subject, disk.trouble, do)
    free = f"{disk.free / 1e6:.0f} MB are free, {disk.reserve / 1e6:.0f} MB of them stay free for the system"
    if disk.free <= disk.reserve:
        return error(Check.DISK, subject, f"{free}: nothing is downloaded any more", MAKE_ROOM)
    if disk.free < SOON * disk.reserve:
        return warning(Check.DISK, subject, f"{free}: soon nothing is downloaded", MAKE_ROOM)
    return fine(Check.DISK, subject, free)


def judge_quota(subject: str, used: int, quota: int) -> Finding:
    """Whether a store is nearly as large as it may be; bytes."""
    what = f"{used / 1e6:.0f} MB of its quota of {quota / 1e6:.0f} MB are used"
    if used <= NEARLY * quota:
        return fine(Check.STORE, subject, what)
    return warning(
        Check.STORE, subject, what, "raise [limits] store_quota; what runs and what a rollback needs is never dropped"
    )
