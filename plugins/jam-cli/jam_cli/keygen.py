"""`jam keygen`."""

import click
from rich.text import Text

from jam_cli.answers import Answer
from jam_cli.parameters import json_flag
from jam_core import generate_aes_key


@click.command("keygen")
@json_flag
def command() -> Answer:
    """Print a new key for session_aes_secret, and nothing else."""
    key = generate_aes_key().decode()
    return Answer({"key": key}, Text(key))
