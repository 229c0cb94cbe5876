"""One text of the operations, for frameworks that await and for those that do not.

`SessionState` is written in coroutines, which await `jam.aio.Jam`. Where nothing is awaited, the
same coroutines get a `jam.Jam` whose methods are done at once: they never wait, and one step
carries them from start to end.
"""

import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from jam_core import Jam
    from jam_core.aio import Jam as AwaitedJam

_Result = TypeVar("_Result")


class AtOnce:
    """A `jam.Jam` with the methods of `jam.aio.Jam`: awaited, but done at once.

    Args:
        jam: Carries them out.
        awaited: Carries them out where `finish` does not run the coroutine: for frameworks that
            know both. It has the same store.
    """

    def __init__(self, jam: "Jam", awaited: "AwaitedJam | None" = None) -> None:
        self._jam = jam
        self._awaited = awaited

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        call = getattr(self._jam, name)

        async def called(*args: Any, **kwargs: Any) -> Any:
            if self._awaited is None or _this_thread.is_finishing:
                return call(*args, **kwargs)
            return await getattr(self._awaited, name)(*args, **kwargs)

        return called


class _ThisThread(threading.local):
    is_finishing = False


_this_thread = _ThisThread()


def finish(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine that never waits, and return its result."""
    before = _this_thread.is_finishing
    try:
        _this_thread.is_finishing = True
        coroutine.send(None)
    except StopIteration as done:
        result: _Result = done.value
        return result
    finally:
        _this_thread.is_finishing = before
    coroutine.close()
    raise RuntimeError("A session over jam.aio.Jam has to be awaited; use jam.Jam here.")
