"""Why a board does not get what the policy wants: an enum for programs, a sentence for people."""

import enum

import msgspec


class ReasonKind(enum.Enum):
    """The values are stable: they may be stored and shown."""

    NOT_PUBLISHED = "not-published"
    NO_VARIANT = "no-variant"
    SEVERAL_VARIANTS = "several-variants"
    GROUP_NOT_RUN = "group-not-run"
    REQUIREMENT_NOT_PLANNED = "requirement-not-planned"
    REQUIRED_BY_OTHER = "required-by-other"
    NOT_YET = "not-yet"


class Reason(msgspec.Struct, frozen=True):
    """`str()` is the sentence."""

    kind: ReasonKind
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def not_published(group: str, version: str) -> Reason:
    return Reason(ReasonKind.NOT_PUBLISHED, f"{group} {version} is not published")


def no_variant(group: str, version: str, board_type: str) -> Reason:
    return Reason(ReasonKind.NO_VARIANT, f"{group} {version} has no variant for board type {board_type}")


def several_variants(group: str, version: str, board_type: str, variants: list[str]) -> Reason:
    named = " and ".join(repr(variant) for variant in sorted(variants))
    return Reason(
        ReasonKind.SEVERAL_VARIANTS, f"several variants of {group} {version} fit board type {board_type}: {named}"
    )


def group_not_run(group: str) -> Reason:
    return Reason(ReasonKind.GROUP_NOT_RUN, f"this board does not run {group}")


def requirement_not_planned(mine: str, group: str, requirement: str, planned: str | None) -> Reason:
    """`mine` names the version that requires, `planned` the version of `group` that the board is planned to run."""
    found = f"{group} {planned}" if planned else f"no {group}"
    return Reason(
        ReasonKind.REQUIREMENT_NOT_PLANNED,
        f"{mine} requires {group} {requirement}, this board is planned to run {found}",
    )


def required_by_other(other: str, group: str, requirement: str) -> Reason:
    return Reason(
        ReasonKind.REQUIRED_BY_OTHER, f"{other}, which this board is planned to run, requires {group} {requirement}"
    )
