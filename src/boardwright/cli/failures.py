"""How a command that fails says so, on stderr, and with which exit code of the contract it ends."""

from boardwright.cli.output import note
from boardwright.errors import BoardwrightError, explain


def show(error: BaseException) -> int:
    """Print `error` to stderr and return the exit code that it ends the command with."""
    for line in explain("boardwright", error):
        note(line)
    return error.exit_code if isinstance(error, BoardwrightError) else 1
