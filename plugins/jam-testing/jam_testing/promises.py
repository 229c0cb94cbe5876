"""What a clause of the suite checks, and what it says if a store breaks it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from textwrap import indent
from typing import ParamSpec

import pytest

from jam_testing.timekeeping import time_limit

CONTRACT_VERSION = 5
"""The version of the contract; it goes up when a clause is added or becomes stricter."""

SECTIONS = (
    "options",
    "create",
    "get",
    "update",
    "delete",
    "clear",
    "rework",
    "info",
    "touch",
    "mutate",
    "purge",
    "ping",
    "list_sessions",
    "revoke",
    "clear_others",
    "records",
    "close",
    "time",
    "encryption",
    "concurrency",
    "asyncio",
    "durability",
    "outages",
    "damage",
    "privacy",
)

_P = ParamSpec("_P")


class BrokenPromise(AssertionError):
    """A store broke a promise; the message says which, what was seen, and where to read it."""


@dataclass(frozen=True)
class Promise:
    """What a clause checks.

    Attributes:
        section: The operation or the subject that it belongs to; one of `SECTIONS`.
        sentence: The promise.
        needs: What the store must declare, or its author provide, for the clause to run.
    """

    section: str
    sentence: str
    needs: tuple[str, ...]


def promise(
    section: str, sentence: str, *, needs: Sequence[str] = ()
) -> Callable[[Callable[_P, None]], Callable[_P, None]]:
    """Mark a test as the clause that checks a promise; its failures name the promise."""
    made = Promise(section, sentence, tuple(needs))

    def mark(clause: Callable[_P, None]) -> Callable[_P, None]:
        @wraps(clause)
        def check(*args: _P.args, **kwargs: _P.kwargs) -> None:
            __tracebackhide__ = True
            limit: float = getattr(args[0], "clause_limit")  # noqa: B009
            try:
                with time_limit(limit, "the clause"):
                    clause(*args, **kwargs)
            except (Exception, pytest.fail.Exception) as failure:
                # Instead of the failure: one traceback, whose last line names the promise.
                broken = _broken(made, clause.__name__, failure)
                raise broken.with_traceback(failure.__traceback__) from failure.__cause__

        check.__dict__["promise"] = made
        return check

    return mark


def _broken(made: Promise, clause: str, failure: BaseException) -> BrokenPromise:
    seen = str(failure)
    if not isinstance(failure, AssertionError):
        seen = f"{type(failure).__name__}: {seen}"
    broken = BrokenPromise(
        f"{made.section}: {made.sentence}.\n"
        f"  clause    {clause}\n"
        f"  contract  docs/contract.md#{made.section}\n"
        f"  seen      {indent(seen, ' ' * 12).strip()}"
    )
    for note in getattr(failure, "__notes__", ()):
        broken.add_note(note)
    return broken


def clauses_of(suite: type) -> dict[str, Promise]:
    """Return the clauses of a test class, by name: the sections in order, then as written."""
    found: dict[str, Promise] = {}
    for part in suite.__mro__:
        for name, member in vars(part).items():
            made = getattr(member, "promise", None)
            if isinstance(made, Promise):
                found.setdefault(name, made)
    in_order = sorted(found, key=lambda name: SECTIONS.index(found[name].section))
    return {name: found[name] for name in in_order}
