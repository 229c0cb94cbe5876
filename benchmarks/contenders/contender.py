"""Who is measured."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from benchmarks.places import Place

Role = Literal["jam", "floor", "peer"]

# What every store of Jam and every floor does; a peer names what it does not do.
PROMISES = {
    "one-step ttl": "data and expiry are stored in one atomic step",
    "no comeback": "an update that races a logout never brings the session back",
    "one-step rework": "a new id lives exactly when the old one dies; of two at once one wins",
    "old id dies": "after a change of the id the old one opens nothing",
    "clear": "all sessions of one user can be ended",
    "touch": "the ttl can restart without rewriting the data",
    "ttl": "sessions expire",
    "whole or not": "a process killed at any moment leaves no half-written data",
    "processes": "several processes can write to one place at once",
    "pure reads": "reading writes nothing",
    "no pickle": "whoever can write to the backend cannot run code in the application",
    "ids hashed": "what is stored opens no session (stores of files and SQL)",
}


class Contender(NamedTuple):
    """One to be measured.

    Attributes:
        name: What the report calls it.
        role: A store of ours, a floor, or a peer.
        open: Opens it at a place; imports what it needs only then. What it returns has some of
            the operations of `BaseSession` as methods, plain or `async`, and `close`. It may
            have `fill(count)`, which creates many sessions at once and returns their ids.
        distribution: Whose version the report shows.
        lacks: Keys of `PROMISES` that it does not keep.
        note: How it is driven, where that is not obvious.
        is_store: Whether `get` returns what was stored.
    """

    name: str
    role: Role
    open: Callable[[Place], Any]
    distribution: str
    lacks: tuple[str, ...] = ()
    note: str = ""
    is_store: bool = True


class UnableError(Exception):
    """Why a contender cannot take part."""
