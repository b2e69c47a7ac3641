"""How a command that fails says so: one sentence, then the causes, then a hint; the exit codes of the contract."""

from collections.abc import Iterator

from boardwright.cli.output import note
from boardwright.errors import BoardwrightError

MAX_CAUSES = 20  # lines; a cluster has a few servers, each with a reason of some lines


def show(error: BaseException) -> int:
    """Print `error` to stderr and return the exit code that it ends the command with."""
    note(f"boardwright: {_sentence(error)}")
    said = [_sentence(error)]
    for depth, cause in list(_causes(error, 1))[:MAX_CAUSES]:
        sentence = _sentence(cause)
        if not any(sentence in earlier for earlier in said):
            note(f"{'  ' * depth}because: {sentence}")
            said.append(sentence)
    hint = getattr(error, "hint", None)
    if hint:
        note(f"hint: {hint}")
    return error.exit_code if isinstance(error, BoardwrightError) else 1


def _causes(error: BaseException, depth: int) -> Iterator[tuple[int, BaseException]]:
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        for member in cause.exceptions:
            yield depth, member
            yield from _causes(member, depth + 1)
    elif cause is not None:
        yield depth, cause
        yield from _causes(cause, depth + 1)


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):
        return f"{type(error).__name__} {text}"
    return text
