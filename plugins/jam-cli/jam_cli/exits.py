"""The exit codes of the command `jam`."""

from enum import IntEnum

from jam_core import JamConfigurationError, JamError, JamStoreUnavailable


class ExitCode(IntEnum):
    """The exit codes, as docs/cli.md lists them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    UNAVAILABLE = 4
    INTERRUPTED = 130
    PIPE_CLOSED = 141


def exit_code_of(error: JamError) -> ExitCode:
    """Return the exit code for an error."""
    if isinstance(error, JamConfigurationError):
        return ExitCode.CONFIGURATION
    if isinstance(error, JamStoreUnavailable):
        return ExitCode.UNAVAILABLE
    return ExitCode.FAILED
