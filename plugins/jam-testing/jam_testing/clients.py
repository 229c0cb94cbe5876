"""Clients of a store that know what each answer must be, and what it may be after an interrupt."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Any

from jam_core import (
    BaseSession,
    JamSessionNotFound,
    JamStoreUnavailable,
    hash_id,
    session_handle,
)
from jam_core.hosting import OPTIONAL_OPERATIONS, RECORDS

GONE = None
"""Stands for the data of a session that has ended."""

_READS = ("get", "get", "get", "get", "get_ended", "list_sessions", "ping", "records")
_WRITES = ("create", "update", "update", "mutate", "touch", "rework", "delete", "revoke")
_WRITES_TO_ALL = ("clear", "clear_others")
_FEW = 20  # records that are checked: there may be any number of others
_ENDED = 50  # ended sessions that are remembered, and read now and then
_LATE = 2.0  # seconds within which a server may still carry out an operation that was given up


class WrongAnswer(AssertionError):
    """A store returned something that cannot be true."""


_Data = dict[str, Any] | None


@dataclass
class _Known:
    """What a client knows about one session.

    Attributes:
        key: Whose session it is.
        data: What its data is, as far as the answers tell.
        late: What its data may still become by itself, and until when: effects of operations that
            ended with an exception.
    """

    key: str
    data: _Data
    late: list[tuple[float, _Data]] = field(default_factory=list)

    def may_be(self) -> list[_Data]:
        """Return what its data may be now."""
        return [self.data, *(data for _, data in self.late)]

    def was(self, data: _Data, asked_at: float) -> None:
        """Take note of an answer. Only a question asked late enough rules the others out."""
        self.data = data
        self.late = [(until, other) for until, other in self.late if asked_at < until]

    def may_become(self, after: list[_Data]) -> None:
        """Take note of an operation that may still be carried out."""
        self.late += [(time.monotonic() + _LATE, data) for data in after]


class Client:
    """Uses a store at random, on sessions of several users, and compares every answer.

    Nobody else may change these users' sessions. An operation that ends with an exception may
    have been carried out, or not, or be carried out soon: each of these is right.

    Args:
        store: The store.
        name: What the users' names begin with; each client needs one of its own. It is also the
            seed for what the client does.
        users: How many users there are.

    Attributes:
        random: Chooses the operations.
        operations: How many operations have been tried.
        unavailable: How many of them were JamStoreUnavailable.
    """

    def __init__(self, store: BaseSession, name: str, users: int = 3) -> None:
        self._store = store
        self.random = Random(name)  # noqa: S311 - it must repeat itself
        self._keys = [f"{name} {user}" for user in range(users)]
        self._known: dict[str, _Known] = {}
        self._ended: deque[str] = deque(maxlen=_ENDED)
        self._written = 0
        lacking = {*OPTIONAL_OPERATIONS, RECORDS} - store.capabilities
        self._choices = [
            name for name in (*_READS * 3, *_WRITES * 2, *_WRITES_TO_ALL) if name not in lacking
        ]
        self.operations = 0
        self.unavailable = 0

    def step(self) -> None:
        """Carry out one operation, chosen at random.

        Raises:
            WrongAnswer: The answer cannot be true.
            Exception: What the operation raised, other than JamStoreUnavailable.
        """
        if len(self._known) < 2 * len(self._keys):
            name = "create"
        else:
            name = self.random.choice(self._choices)
        self.operations += 1
        try:
            getattr(self, f"_{name}")()
        except JamStoreUnavailable:
            self.unavailable += 1

    def steps(self, count: int) -> None:
        """Carry out some operations, as `step` does."""
        for _ in range(count):
            self.step()

    def check_all(self) -> None:
        """Read every session that the client knows about, and compare.

        Raises:
            WrongAnswer: One is not what it must be.
        """
        for session_id in list(self._known):
            self._check(session_id)

    def end_all(self) -> None:
        """End every session of the client's users."""
        for key in self._keys:
            self._store.clear(key)
        self._known.clear()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the store in another process; `use` sets it there."""
        return {**self.__dict__, "_store": None}

    def use(self, store: BaseSession) -> None:
        """Use another store on the same backend from now on."""
        self._store = store

    def _create(self) -> None:
        key = self.random.choice(self._keys)
        data = self._new_data(key)
        session_id = self._store.create(key, data)
        if session_id in self._known:
            raise WrongAnswer("create returned an id that is in use")
        self._known[session_id] = _Known(key, data)

    def _get(self) -> None:
        self._check(self._any_session())

    def _get_ended(self) -> None:
        if self._ended and self._store.get(self.random.choice(self._ended)) is not GONE:
            raise WrongAnswer("get found a session that has ended")

    def _check(self, session_id: str) -> None:
        known = self._known[session_id]
        asked_at = time.monotonic()
        answer = self._store.get(session_id)
        if answer not in known.may_be():
            raise WrongAnswer(_words("get", known, answer))
        known.was(answer, asked_at)
        self._forget_if_gone(session_id)

    def _update(self) -> None:
        session_id = self._any_session()
        data = self._new_data(self._known[session_id].key)
        with self._changing(session_id, [data]):
            self._store.update(session_id, data)
            self._known[session_id].data = data

    def _touch(self) -> None:
        session_id = self._any_session()
        with self._changing(session_id, []):
            self._store.touch(session_id)

    def _mutate(self) -> None:
        session_id = self._any_session()
        known = self._known[session_id]
        addition = {"mutated": self._number()}

        def change(data: dict[str, Any]) -> dict[str, Any]:
            if data not in known.may_be():
                raise WrongAnswer(_words("mutate", known, data))
            return {**data, **addition}

        after: list[_Data] = [{**data, **addition} for data in known.may_be() if data is not GONE]
        with self._changing(session_id, after):
            stored = self._store.mutate(session_id, change)
            if stored not in after:
                raise WrongAnswer(_words("mutate", known, stored))
            known.data = stored

    def _rework(self) -> None:
        session_id = self._any_session()
        known = self._known[session_id]
        with self._changing(session_id, [GONE]):
            new = self._store.rework(session_id)
            if new in self._known:
                raise WrongAnswer("rework returned an id that is in use")
            # The next answer will tell which of the possible data it has.
            self._known[new] = _Known(known.key, known.data)
            self._known[new].may_become([data for data in known.may_be() if data is not GONE])
            if known.data is GONE:
                self._check(new)
            known.data = GONE

    def _delete(self) -> None:
        session_id = self._any_session()
        with self._changing(session_id, [GONE]):
            self._store.delete(session_id)
            self._known[session_id].data = GONE

    def _revoke(self) -> None:
        session_id = self._any_session()
        known = self._known[session_id]
        before = known.may_be()
        with self._changing(session_id, [GONE]):
            found = self._store.revoke(known.key, session_handle(session_id))
            if found not in {data is not GONE for data in [*before, *known.may_be()]}:
                raise WrongAnswer(f"revoke returned {found}, which cannot be true")
            known.data = GONE

    def _clear(self) -> None:
        key = self.random.choice(self._keys)
        with self._ending(one for one, known in self._known.items() if known.key == key):
            self._store.clear(key)

    def _clear_others(self) -> None:
        kept = self._any_session()
        key = self._known[kept].key
        with self._ending(
            one for one, known in self._known.items() if known.key == key and one != kept
        ) as others:
            try:
                self._store.clear_others(kept)
            except JamSessionNotFound:
                if GONE not in self._known[kept].may_be():
                    raise WrongAnswer("clear_others did not find a live session") from None
                others.clear()

    def _list_sessions(self) -> None:
        key = self.random.choice(self._keys)
        listed = {info.handle for info in self._store.list_sessions(key)}
        for session_id, known in self._known.items():
            is_listed = session_handle(session_id) in listed
            if known.key != key and is_listed:
                raise WrongAnswer("list_sessions listed another user's session")
            if known.key == key and not is_listed and GONE not in known.may_be():
                raise WrongAnswer("list_sessions did not list a live session")
        if listed & {session_handle(session_id) for session_id in self._ended}:
            raise WrongAnswer("list_sessions listed a session that has ended")

    def _ping(self) -> None:
        self._store.ping()

    def _records(self) -> None:
        owners = {hash_id(session_id): known.key for session_id, known in self._known.items()}
        for record in islice(self._store.records(), _FEW):
            if owners.get(record.id_hash, record.session_key) != record.session_key:
                raise WrongAnswer("records gave a session another user's key")

    def _any_session(self) -> str:
        return self.random.choice(list(self._known))

    def _number(self) -> int:
        self._written += 1
        return self._written

    def _new_data(self, key: str) -> dict[str, Any]:
        """Make data such that no two writes of any client look the same."""
        return {"user": key, "write": self._number()}

    @contextmanager
    def _changing(self, session_id: str, after: list[_Data]) -> Iterator[None]:
        """Run a write to one session; if it ends with an exception, its data may become `after`."""
        known = self._known[session_id]
        may_have_ended = GONE in known.may_be()
        try:
            yield
        except JamSessionNotFound:
            if not may_have_ended:
                raise WrongAnswer("a live session was not found") from None
            known.data = GONE
        except BaseException:
            known.may_become(after)
            raise
        self._forget_if_gone(session_id)

    @contextmanager
    def _ending(self, chosen: Iterator[str]) -> Iterator[list[str]]:
        """Run an operation that ends some sessions."""
        ending = list(chosen)
        try:
            yield ending
        except BaseException:
            for session_id in ending:
                self._known[session_id].may_become([GONE])
            raise
        for session_id in ending:
            self._known[session_id].data = GONE
            self._forget_if_gone(session_id)

    def _forget_if_gone(self, session_id: str) -> None:
        if self._known[session_id].data is GONE:
            del self._known[session_id]
            self._ended.append(session_id)


def _words(operation: str, known: _Known, answer: _Data) -> str:
    if answer is GONE:
        return f"{operation} did not find a live session"
    owner = answer.get("user")
    if owner != known.key:
        return f"{operation} gave {known.key!r} the session of {owner!r}"
    return f"{operation} gave data from another moment: {answer!r}, not {known.may_be()!r}"
