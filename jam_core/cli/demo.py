"""`jam demo`: the tour, on a store that lives in a temporary directory."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jam_core.cli.answers import Answer
from jam_core.cli.parameters import json_flag
from jam_core.exceptions import JamSessionNotFound
from jam_core.jam import Jam
from jam_core.scaffold import write_plugin

_STORE = "tour"


class Stop(NamedTuple):
    """One stop of the tour.

    Attributes:
        title: What it is about.
        code: What an application writes.
        outcome: What came of it.
    """

    title: str
    code: str
    outcome: str


@click.command("demo")
@json_flag
def command() -> Answer:
    """Show what Jam does, on a store that is gone afterwards; no network is used."""
    with _temporary_jam() as jam:
        stops = list(_tour(jam))
    return Answer({"stops": [stop._asdict() for stop in stops]}, _screen(stops))


@contextmanager
def _temporary_jam() -> Iterator[Jam]:
    """Open the very store that `jam new-store` writes: the core itself has none."""
    with TemporaryDirectory(prefix="jam-demo-") as directory:
        write_plugin(_STORE, directory)
        sys.path.insert(0, str(Path(directory, f"jam-{_STORE}")))
        importlib.invalidate_caches()
        store = f"jam_{_STORE}:{_STORE.capitalize()}Sessions"
        settings = {"session_type": store, "path": f"{directory}/sessions.db"}
        with Jam({"session": settings}) as jam:
            yield jam


def _tour(jam: Jam) -> Iterator[Stop]:
    laptop = jam.session_create("user1", {"role": "guest"})
    yield Stop(
        "A visitor comes: a session, under an id that nobody can guess.",
        'id = jam.session_create("user1", {"role": "guest"})',
        laptop,
    )
    yield Stop(
        "The next request brings the id, in its cookie.",
        "jam.session_get(id)",
        repr(jam.session_get(laptop)),
    )
    old, laptop = laptop, jam.session_rework(laptop)
    yield Stop(
        "She logs in: a new id. Whoever had planted or stolen the old one has nothing.",
        "new_id = jam.session_rework(id)",
        f"{laptop}, and the old id gives {jam.session_get(old)!r}",
    )
    jam.session_update(laptop, {"role": "admin", "cart": 0})
    yield Stop(
        "Her data changes, and her time starts anew.",
        'jam.session_update(new_id, {"role": "admin", "cart": 0})',
        repr(jam.session_get(laptop)),
    )
    phone = jam.session_create("user1", {"role": "admin"})
    jam.session_mutate(laptop, lambda data: {**data, "cart": data["cart"] + 1})
    yield Stop(
        "Two requests at once: neither overwrites what the other did.",
        'jam.session_mutate(new_id, lambda data: {**data, "cart": data["cart"] + 1})',
        repr(jam.session_get(laptop)),
    )
    jam.session_clear("user1")
    yield Stop(
        "She logs out everywhere, on the laptop and on the phone.",
        'jam.session_clear("user1")',
        f"laptop: {jam.session_get(laptop)!r}, phone: {jam.session_get(phone)!r}",
    )
    yield Stop(
        "A request that was still on its way does not bring the session back.",
        'jam.session_update(new_id, {"role": "admin"})',
        _refusal(jam, laptop),
    )


def _refusal(jam: Jam, session_id: str) -> str:
    try:
        jam.session_update(session_id, {"role": "admin"})
    except JamSessionNotFound as error:
        return f"JamSessionNotFound: {error.message}"
    return "the session is back"


def _screen(stops: list[Stop]) -> RenderableType:
    tour = Table.grid(padding=(0, 1))
    for number, stop in enumerate(stops, start=1):
        tour.add_row(Text(f"{number}", "bold cyan"), Text(stop.title, "bold"))
        tour.add_row(Text(">>>", "dim"), Text(stop.code))
        tour.add_row(None, Text(stop.outcome, "green"))
        tour.add_row()
    farewell = (
        "It all ran on a store in a temporary directory, which is gone.\n"
        "Choose a store that stays: pip install jam-json, jam-redis or jam-sqlalchemy.\n"
        "Or write one of your own:  jam new-store NAME"
    )
    return Group(tour, Text(farewell, "dim"))
