"""Several clients at once on one key's sessions: does a sequential order explain the results?

Each operation must appear to happen at one moment between its beginning and its end. An operation
that ended without an answer (a killed process, an outage) may have happened at any moment since it
began, or never.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from random import Random
from typing import Any

from jam_core import (
    BaseSession,
    JamSessionConflict,
    JamSessionNotFound,
    JamStoreUnavailable,
    session_handle,
)
from jam_core.hosting import OPTIONAL_OPERATIONS
from jam_testing.fixtures import StoreFactory

_PATIENCE = 60.0  # seconds within which a history must be over
_AHEAD = 2_000_000  # nanoseconds: all begin at the same moment, and must hear of it before
_NAMES = (
    *("get", "get", "get", "update", "update", "mutate", "mutate", "rework", "rework", "touch"),
    *("create", "delete", "revoke", "clear", "clear_others", "list_sessions"),
)
_LOOKS = 3  # how often `clear` may check whether something is left
_NOT_FOUND = "not found"
_CONFLICT = "conflict"  # `mutate` gave up; nothing has changed

_Writes = tuple[int, ...]  # a session's data: the numbers of the writes that made it
_State = frozenset[tuple[str, _Writes]]  # the sessions of the key: their ids and data


class NotLinearizable(AssertionError):
    """No order of the operations explains what they returned."""


@dataclass(frozen=True)
class Operation:
    """An operation that one of several clients ran on the sessions of a key.

    Attributes:
        worker: Who did it.
        name: Which operation of the store.
        session_id: The session that it was called for, or an empty string.
        write: A number that no other write has.
        invoked: When it began, on the monotonic clock, in nanoseconds.
        returned: When it ended; None if nobody knows what became of it.
        result: What it returned.
        about: For `clear` and `clear_others`: sessions that were created meanwhile; in a further
            step, those that the step is about.
    """

    worker: int
    name: str
    session_id: str
    write: int
    invoked: int
    returned: int | None = None
    result: Any = None
    about: frozenset[str] = frozenset()


def check_linearizable(
    open_store: StoreFactory,
    *,
    histories: int = 40,
    processes: int = 3,
    threads: int = 0,
    operations: int = 4,
    kills: bool = False,
    in_steps: Collection[str] = (),
    seed: int = 0,
    name: str = "history",
) -> None:
    """Record concurrent histories on one session key, and look for an order that explains each.

    Args:
        open_store: Opens the store; each process opens it for itself.
        histories: How many histories are recorded, each with a key of its own.
        processes: How many processes take part. They need a store that is "shared".
        threads: How many threads of this process take part; they share one store.
        operations: How many operations each of them carries out in a history.
        kills: Whether processes are killed in the middle, and others take their place.
        in_steps: Operations that the store says it carries out in several steps; they are left out.
        seed: Chooses the operations.
        name: What the session keys begin with; choose one that nobody else uses.

    Raises:
        NotLinearizable: No order explains a history; the message shows it.
        AssertionError: An operation failed with an unexpected error, or did not end.
    """
    random = Random(f"{name} {seed}")  # noqa: S311 - it must repeat itself
    with open_store() as store:
        workers = [_Worker(open_store, number) for number in range(processes)]
        try:
            for number in range(histories):
                key = f"{name} {seed} {number}"
                begun = [_begin(store, key, first) for first in range(2)]
                ids = [str(operation.result) for operation in begun]
                doomed = random.randrange(processes) if kills and random.random() < 0.5 else None
                history = begun + _record(
                    workers,
                    threads,
                    store,
                    _Plan(key, ids, operations, random.random(), in_steps),
                    doomed,
                )
                history += _look(store, key, history)
                explain(history)
                store.clear(key)
        finally:
            for worker in workers:
                worker.kill()


def explain(history: Sequence[Operation]) -> list[Operation]:
    """Return the operations in an order that explains what they returned.

    Raises:
        NotLinearizable: There is none.
    """
    operations = sorted(_in_steps(history), key=lambda operation: operation.invoked)
    known = {session_handle(one.result): one.result for one in operations if _made_an_id(one)}
    operations = [_with_ids(operation, known) for operation in operations]
    to_explain = sum(1 << index for index, one in enumerate(operations) if one.returned is not None)
    # A depth-first search. What has failed from the same point is not tried again.
    hopeless: set[tuple[int, _State]] = set()
    path = [(0, _State(), _next(operations, 0, _State()))]
    order: list[int] = []
    while path:
        done, _, choices = path[-1]
        if done & to_explain == to_explain:
            return [operations[index] for index in order]
        for index, after in choices:
            point = (done | 1 << index, after)
            if point not in hopeless:
                hopeless.add(point)
                order.append(index)
                path.append((*point, _next(operations, *point)))
                break
        else:
            path.pop()
            if order:
                order.pop()
    raise NotLinearizable("no order explains this history:\n" + _told(operations))


def _in_steps(history: Sequence[Operation]) -> Iterator[Operation]:
    """Yield the operations, and the further steps that `clear` and `clear_others` may take.

    A database under snapshot isolation must look again until nothing is left. So sessions that are
    created meanwhile may end after the rest, each at a moment of its own; those that existed before
    all end at one moment.
    """
    for one in history:
        may_look_again = one.name in ("clear", "clear_others") and one.returned is not None
        if not may_look_again or one.result == _NOT_FOUND:
            yield one
            continue
        young = frozenset(
            other.result
            for other in history
            if other.name == "create" and other.returned and other.returned > one.invoked
        )
        yield replace(one, about=young)
        for _ in range(_LOOKS - 1):
            yield replace(one, name=f"{one.name}, again")
        if young:
            yield replace(one, name=f"{one.name} of the old", about=young)
        for each in young if len(young) > 1 else ():
            yield replace(one, name=f"{one.name} of one", about=frozenset({each}))


def _next(
    operations: Sequence[Operation], done: int, state: _State
) -> Iterator[tuple[int, _State]]:
    """Yield each operation that may have happened next, and the state after it."""
    left = [index for index in range(len(operations)) if not done >> index & 1]
    ends = [one.returned for one in (operations[index] for index in left) if one.returned]
    first_end = min(ends, default=0)
    for index in left:
        operation = operations[index]
        if ends and operation.invoked > first_end:
            break
        result, after = _model(operation, state, f"?{index}")
        if operation.returned is None or result == operation.result:
            yield index, after


def _model(operation: Operation, state: _State, unknown_id: str) -> tuple[Any, _State]:  # noqa: C901, PLR0911, PLR0912
    """Return what an operation must return by the contract, and what it leaves behind."""
    sessions = dict(state)
    name, session_id, write = operation.name, operation.session_id, operation.write
    found = sessions.get(session_id)
    new_id = operation.result if operation.returned is not None else unknown_id
    if name == "get":
        return found, state
    if name == "list_sessions":
        return _as_listed(sessions.items()), state
    if name == "create":
        return new_id, state | {(new_id, (write,))}
    if name in ("clear", "clear, again"):
        return None, _State()
    if name == "clear_others, again":
        return operation.result, state if found is None else _State({(session_id, found)})
    if name.endswith((" of the old", " of one")):
        is_others = name.startswith("clear_others")
        if is_others and found is None:
            return operation.result, state
        own = _State({(session_id, found)}) if is_others and found is not None else _State()
        ends = name.endswith(" of one")
        return operation.result, own | {
            session for session in state if (session[0] in operation.about) != ends
        }
    if name == "delete":
        return None, state - {(session_id, found)}
    if name == "revoke":
        return found is not None, state - {(session_id, found)}
    if operation.result == _CONFLICT:
        return _CONFLICT, state
    if found is None:
        # If it looks again and finds its own session gone, it has ended the old ones, no others.
        has_ended_some = name == "clear_others" and operation.about and operation.result != 0
        return (operation.result if has_ended_some else _NOT_FOUND), state
    session = (session_id, found)
    if name == "clear_others":
        # Sessions that a further look ends are counted, too.
        ended, told = len(sessions) - 1, operation.result
        return max(ended, told) if isinstance(told, int) else ended, _State({session})
    if name == "touch":
        return None, state
    if name == "rework":
        # An id is never issued twice, so a new one cannot be there yet.
        return (_NOT_FOUND if new_id == _NOT_FOUND else new_id), state - {session} | {
            (new_id, found)
        }
    if name == "update":
        return None, state - {session} | {(session_id, (write,))}
    changed = (*found, write)
    return changed, state - {session} | {(session_id, changed)}


def _as_listed(sessions: Any) -> list[tuple[str, _Writes]]:
    """Return sessions as a list shows them; an id that nobody was told is empty."""
    return sorted(("" if one.startswith("?") else one, tuple(data)) for one, data in sessions)


def _with_ids(operation: Operation, known: dict[str, str]) -> Operation:
    """Put ids in place of the handles that a list shows."""
    if operation.name != "list_sessions" or operation.returned is None:
        return operation
    listed = ((known.get(handle, "?"), data) for handle, data in operation.result)
    return replace(operation, result=_as_listed(listed))


def _made_an_id(operation: Operation) -> bool:
    made = operation.name in ("create", "rework") and operation.returned is not None
    return made and operation.result != _NOT_FOUND


def _told(operations: Sequence[Operation]) -> str:
    """Write a history, with short names for the ids."""
    text = "\n".join(
        f"  {(one.invoked - operations[0].invoked) / 1e6:9.3f} to "
        + (f"{(one.returned - operations[0].invoked) / 1e6:9.3f}" if one.returned else "        ?")
        + f" ms  worker {one.worker}  {one.name}({one.session_id}) #{one.write} -> {one.result}"
        for one in operations
    )
    ids = [one.result for one in operations if _made_an_id(one)]
    for number, session_id in enumerate(ids, start=1):
        text = text.replace(session_id, f"id{number}")
    return text


@dataclass(frozen=True)
class _Plan:
    """What all the workers do in one history."""

    key: str
    ids: list[str]
    operations: int
    seed: float
    in_steps: Collection[str]
    begin: int = 0

    def carry_out(self, store: BaseSession, worker: int, tell: Callable[[Operation], Any]) -> None:
        """Do a worker's part; report each operation before it begins, and when it is over."""
        random = Random(f"{self.seed} {worker}")  # noqa: S311 - it must repeat itself
        lacking = {*OPTIONAL_OPERATIONS} - store.capabilities | {*self.in_steps}
        names = [name for name in _NAMES if name not in lacking]
        ids = list(self.ids)
        while time.monotonic_ns() < self.begin:
            time.sleep(0)
        for number in range(self.operations):
            operation = Operation(
                worker,
                random.choice(names),
                random.choice(ids),
                write=worker * 1000 + number,
                invoked=time.monotonic_ns(),
            )
            tell(operation)
            over = _run(store, self.key, operation)
            tell(over)
            if _made_an_id(over):
                ids.append(over.result)
            if random.random() < 0.3:
                time.sleep(random.random() / 1000)


def _run(store: BaseSession, key: str, operation: Operation) -> Operation:
    """Carry out an operation and return it with its result."""
    session_id, data = operation.session_id, {"writes": [operation.write]}
    calls: dict[str, Callable[[], Any]] = {
        "create": lambda: store.create(key, data),
        "get": lambda: _writes(store.get(session_id)),
        "update": lambda: store.update(session_id, data),
        "mutate": lambda: _writes(
            store.mutate(session_id, lambda old: {"writes": old["writes"] + data["writes"]})
        ),
        "touch": lambda: store.touch(session_id),
        "rework": lambda: store.rework(session_id),
        "delete": lambda: store.delete(session_id),
        "revoke": lambda: store.revoke(key, session_handle(session_id)),
        "clear": lambda: store.clear(key),
        "clear_others": lambda: store.clear_others(session_id),
        "list_sessions": lambda: [
            (info.handle, _writes(info.data)) for info in store.list_sessions(key)
        ],
    }
    try:
        result = calls[operation.name]()
    except JamSessionNotFound:
        result = _NOT_FOUND
    except JamSessionConflict:
        result = _CONFLICT
    except JamStoreUnavailable:
        return operation
    return replace(operation, result=result, returned=time.monotonic_ns())


def _writes(data: dict[str, Any] | None) -> _Writes | None:
    return None if data is None else tuple(data["writes"])


def _begin(store: BaseSession, key: str, number: int) -> Operation:
    operation = Operation(-1, "create", "", -1 - number, time.monotonic_ns())
    return _must_end(_run(store, key, operation))


def _look(store: BaseSession, key: str, history: Sequence[Operation]) -> list[Operation]:
    """Read everything when all is over."""
    ids = [one.result for one in history if _made_an_id(one)]
    last = [_run(store, key, Operation(-1, "get", one, 0, time.monotonic_ns())) for one in ids]
    if "list_sessions" in store.capabilities:
        last.append(_run(store, key, Operation(-1, "list_sessions", "", 0, time.monotonic_ns())))
    return last


def _must_end(operation: Operation) -> Operation:
    assert operation.returned is not None, "the store is unavailable before anything happened"
    return operation


def _record(
    workers: list["_Worker"], threads: int, store: BaseSession, plan: _Plan, doomed: int | None
) -> list[Operation]:
    """Let all workers carry out a plan at once; one of the processes may be killed meanwhile."""
    plan = replace(plan, begin=time.monotonic_ns() + _AHEAD)
    told: list[Operation] = []
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            plan.carry_out(store, number, told.append)
        except Exception as error:
            failures.append(error)

    own = [
        threading.Thread(target=work, args=(len(workers) + number,), daemon=True)
        for number in range(threads)
    ]
    for worker in workers:
        worker.begin(plan)
    for thread in own:
        thread.start()
    if doomed is not None:
        workers[doomed].kill_in_the_middle(plan)
    for worker in workers:
        told += worker.told()
    for thread in own:
        thread.join(_PATIENCE)
        assert not thread.is_alive(), f"a thread did not end within {_PATIENCE:g} s"
    if failures:
        raise failures[0]
    outcomes: dict[tuple[int, int], Operation] = {}
    for operation in told:  # each is reported when it begins, then when it ends
        outcomes[operation.worker, operation.write] = operation
    return list(outcomes.values())


class _Worker:
    """A process that takes part in one history after another."""

    def __init__(self, open_store: StoreFactory, number: int) -> None:
        self._open_store = open_store
        self._number = number
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        orders, self._orders = context.Pipe(duplex=False)
        self._tales, tales = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_serve, args=(self._open_store, self._number, orders, tales), daemon=True
        )
        self._process.start()
        orders.close()
        tales.close()
        self._was_killed = False

    def begin(self, plan: _Plan) -> None:
        if self._was_killed:
            self._close()
            self._start()
        self._orders.send(plan)

    def kill_in_the_middle(self, plan: _Plan) -> None:
        """Kill it at a moment that the plan's seed chooses."""
        moment = plan.begin + int(plan.seed * 1000 % 1 * 3e6 * plan.operations)
        while time.monotonic_ns() < moment:
            time.sleep(0.0002)
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        self._was_killed = True

    def told(self) -> list[Operation]:
        """Return what it reported of the current history."""
        told: list[Operation] = []
        while wait([self._tales, self._process.sentinel], _PATIENCE):
            if not self._tales.poll():
                assert self._was_killed, "a process of the history ended unexpectedly"
                return told
            try:
                tale = self._tales.recv()
            except EOFError:
                return told
            if tale is None:
                return told
            assert not isinstance(tale, str), f"in a process of the history: {tale}"
            told.append(tale)
        raise AssertionError(f"a process of the history did not end within {_PATIENCE:g} s")

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._close()

    def _close(self) -> None:
        for end in (self._orders, self._tales):
            end.close()


def _serve(open_store: StoreFactory, number: int, orders: Connection, tales: Connection) -> None:
    """Carry out plans until killed."""
    try:
        store = open_store()
        while True:
            plan: _Plan = orders.recv()
            plan.carry_out(store, number, tales.send)
            tales.send(None)
    except EOFError:
        return
    except Exception as error:
        tales.send(f"{type(error).__name__}: {error}")
