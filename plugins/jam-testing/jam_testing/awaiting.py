"""The same clauses through `jam.aio`: a store whose operations are awaited in an event loop."""

import asyncio
import copy
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from jam_core import BaseSession, PerProcess, awaited, wait
from jam_core.hosting import OPTIONAL_OPERATIONS
from jam_testing.fixtures import StoreFactory

if TYPE_CHECKING:
    from jam_core import aio

_METHODS = {
    "create": "session_create",
    "get": "session_get",
    "info": "session_info",
    "update": "session_update",
    "delete": "session_delete",
    "clear": "session_clear",
    "rework": "session_rework",
    "touch": "session_touch",
    "mutate": "session_mutate",
    "purge": "session_purge",
    "list_sessions": "session_list",
    "revoke": "session_revoke",
    "clear_others": "session_clear_others",
}
"""What each operation of a store is called in the facade; `ping` is not there."""


_facades: "WeakKeyDictionary[BaseSession, aio.Jam]" = WeakKeyDictionary()


def facade_of(store: BaseSession) -> "aio.Jam":
    """Return the `jam.aio.Jam` that serves a store.

    A store from `awaited_factory` has one already: with a second one around it, Jam's threads would
    wait for others of the same threads.
    """
    from jam_core import aio

    found = _facades.get(store)
    return aio.Jam({"session": {"session_type": store}}) if found is None else found


def awaited_factory(store_factory: StoreFactory) -> StoreFactory:
    """Return a factory for the same stores, with operations that go through `jam.aio`.

    They can be called as usual, from any thread and process; each is awaited in one event loop, in
    a thread of its own. So the whole contract runs on them:

        class TestAwaited(TestMyStore):
            @pytest.fixture
            def store_factory(self, tmp_path) -> StoreFactory:
                return awaited_factory(lambda **options: MySessions(tmp_path, **options))

    `ping` and the operators' methods (`records`, `restore`, `replace`, `diagnose`) stay as they
    are.

    Args:
        store_factory: Opens the store under test.
    """
    from jam_core import aio  # imports greenlet

    def open_store(**options: Any) -> BaseSession:
        store = store_factory(**options)
        jam = aio.Jam({"jam": {"session": {"session_type": store}}})
        opened = copy.copy(store)  # the facade calls the store's own methods
        _facades[opened] = jam
        lacking = set(OPTIONAL_OPERATIONS) - store.capabilities
        for operation in _METHODS.keys() - lacking:
            setattr(opened, operation, _in_loop(getattr(jam, _METHODS[operation])))

        def close() -> None:
            _in_loop(jam.close)()
            store.close()

        setattr(opened, "close", close)  # noqa: B010  (mypy: a method)
        return opened

    return open_store


class _Loop:
    """An event loop that runs in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="awaiting", daemon=True).start()

    def run(self, method: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        tasks: list[asyncio.Task[Any]] = []
        ended: Future[None] = Future()

        async def call() -> Any:
            return await method()

        def begin() -> None:
            tasks.append(self._loop.create_task(call()))
            tasks[0].add_done_callback(lambda _: ended.set_result(None))

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:
                ended.set_result(None)

        try:
            self._loop.call_soon_threadsafe(begin)
            ended.result()
        except BaseException:
            # A caller that is interrupted is cancelled, and goes on once that has taken effect.
            if not ended.done():
                self._loop.call_soon_threadsafe(cancel)
                ended.result()
            raise
        return tasks[0].result()


_loop = PerProcess(_Loop)


def _in_loop(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if method.__name__ == "session_rework" and "session_id" in kwargs:
            kwargs["old_session_id"] = kwargs.pop("session_id")
        if awaited():  # a function that `mutate` was given, which runs in the loop
            return wait(method(*args, **kwargs))
        return _loop().run(partial(method, *args, **kwargs))

    return call
