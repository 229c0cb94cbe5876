"""What a subcommand returns, and how it is printed: for people, or as one JSON document."""

import json
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console, RenderableType
from rich.text import Text

from jam_cli.exits import ExitCode


class Answer(NamedTuple):
    """The outcome of a subcommand; the frame prints it.

    Attributes:
        document: What `--json` prints; docs/cli.md describes it.
        screen: The same for people.
        exit_code: The exit code of the process.
    """

    document: dict[str, Any]
    screen: RenderableType
    exit_code: ExitCode = ExitCode.OK


def show(answer: Answer, *, as_json: bool) -> None:
    """Print an answer to standard output."""
    if as_json:
        _print_json(answer.document)
    else:
        Console(highlight=False).print(answer.screen)


def show_error(code: str, message: str, problems: Sequence[str] = (), *, as_json: bool) -> None:
    """Say what went wrong: on standard error, or as the JSON document.

    Args:
        code: A stable name for the kind of error.
        message: What was wrong, where, and what to do.
        problems: Each thing that is wrong, if there are several.
        as_json: Whether to print JSON.
    """
    if as_json:
        _print_json({"error": {"code": code, "message": message, "problems": list(problems)}})
        return
    console = Console(stderr=True, highlight=False)
    text = Text.assemble(("Error:", "bold red"), " ", message)
    # Files and other programs get whole lines.
    console.print(text, soft_wrap=not console.is_terminal)


def _print_json(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
