"""The frame of the command `jam`: its subcommands, its answers, and how it fails."""

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click

from jam_cli.answers import Answer, show, show_error
from jam_cli.exits import ExitCode, exit_code_of
from jam_cli.parameters import Commands, json_flag
from jam_core import JamConfigurationError, JamError
from jam_core.hosting import close_match

# Each is the attribute `command` of a module of this package, imported when it is needed.
_MODULES = {
    "check": "check",
    "keygen": "keygen",
    "migrate": "migrate",
    "new-store": "new_store",
    "plugins": "plugins",
    "rekey": "rekey",
    "sessions": "sessions",
}


class _Subcommands(Commands):
    """Imports a subcommand only when it is needed: `jam keygen` does not wait for the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _MODULES:
            return None
        module = import_module(f"jam_cli.{_MODULES[cmd_name]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _MODULES and not args[0].startswith("-"):
            ctx.fail(
                f"There is no command {args[0]!r}.{close_match(args[0], list(_MODULES))} "
                f"The commands: {', '.join(_MODULES)}."
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="jam-core", message="jam-core %(version)s")
@json_flag
def jam() -> None:
    """Look after server-side sessions, their stores and their configuration."""


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; whatever happens, there is no traceback.

    Args:
        arguments: The command line after the name of the program.
    """
    flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in flags
    is_quiet = "--quiet" in flags or "-q" in flags
    try:
        # Without its standalone mode, click returns what the subcommand returned.
        answer = jam.main(list(arguments), prog_name="jam", standalone_mode=False)
        if not isinstance(answer, Answer):  # --help and --version have already printed
            return int(answer or ExitCode.OK)
        if not (is_quiet and answer.exit_code == ExitCode.OK):
            show(answer, as_json=as_json)
        sys.stdout.flush()
        exit_code = answer.exit_code
    except BrokenPipeError:
        # Flushing what is left in the buffer would fail again when the interpreter exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        exit_code = ExitCode.PIPE_CLOSED
    except (click.Abort, KeyboardInterrupt):
        exit_code = ExitCode.INTERRUPTED
    except Exception as error:
        exit_code = _fail(error, as_json=as_json)
    return exit_code


def _fail(error: Exception, *, as_json: bool) -> ExitCode:
    """Say what went wrong and return the exit code for it."""
    if isinstance(error, JamError):
        problems = error.problems if isinstance(error, JamConfigurationError) else ()
        show_error(error.error_code, error.message, problems, as_json=as_json)
        return exit_code_of(error)
    if isinstance(error, click.ClickException):
        usage = ""
        if isinstance(error, click.UsageError) and error.ctx and not as_json:
            usage = f" `{error.ctx.command_path} --help` shows how to use it."
        show_error("usage", error.format_message() + usage, as_json=as_json)
        return ExitCode.USAGE
    show_error("unexpected", _unexpected(error), as_json=as_json)
    return ExitCode.FAILED


def _unexpected(error: Exception) -> str:
    """Say where it was raised, without its message: a driver's may quote a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next(frame for frame in reversed(frames) if not frame.filename.startswith("<"))
    return (
        f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}: a bug in "
        "jam or in a plugin. Report it to the maintainers of that file."
    )
