"""Through `jam.aio`, the same work has the same spans and figures."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry.trace import get_current_span

from jam import aio
from jam_core import Jam, JamSessionNotFound

from .backends import Backend
from .collector import Collector

OpenJam = Callable[..., Jam]


def told(collector: Collector) -> tuple[list[object], object]:
    """Return what was collected of some work, but for how long it took."""
    spans: list[object] = [
        (one.name, one.status.status_code, dict(one.attributes or {})) for one in collector.spans()
    ]
    figures = collector.counts("db.operation.name", "jam.session.found", "error.type")
    return spans, figures


async def work(call: Callable[..., Awaitable[Any]]) -> None:
    first = await call("session_create", "user1", {"a": 1})
    await call("session_get", first)
    await call("session_get", "user1:unknown")
    await call("session_update", first, {"a": 2})
    second = await call("session_rework", first)
    with contextlib.suppress(JamSessionNotFound):
        await call("session_update", first, {"a": 3})
    await call("session_list", "user1")
    await call("session_delete", second)


def test_spans_and_figures_are_those_of_the_plain_jam(backend: Backend, open_jam: OpenJam) -> None:
    plain_collector, collector = Collector(), Collector()
    plain = open_jam(plain_collector.plugin(), **backend.session)

    async def at_once(name: str, *arguments: Any) -> Any:
        return getattr(plain, name)(*arguments)

    async def main() -> None:
        settings = {"session": backend.session}
        async with aio.Jam(settings, wrappers=[collector.plugin()]) as jam:
            await work(lambda name, *arguments: getattr(jam, name)(*arguments))

    asyncio.run(work(at_once))
    asyncio.run(main())
    assert told(collector) == told(plain_collector)
    assert collector.spans()


def test_a_span_belongs_to_the_request_and_lasts_until_the_answer(
    backend: Backend, collector: Collector
) -> None:
    async def request(jam: aio.Jam, n: int) -> None:
        tracer = collector.tracer_provider.get_tracer("of the application")
        with tracer.start_as_current_span("request") as span:
            await jam.session_create(f"user{n}", {"n": n})
            await jam.session_get(f"user{n}:unknown")
            assert get_current_span() is span

    async def main() -> None:
        settings = {"session": backend.session}
        async with aio.Jam(settings, wrappers=[collector.plugin()]) as jam:
            await asyncio.gather(*(request(jam, n) for n in range(20)))

    asyncio.run(main())
    times = {
        one.context.span_id: (one.start_time or 0, one.end_time or 0)
        for one in collector.all_spans()
        if one.name == "request" and one.context
    }
    assert len(times) == 20
    assert len(collector.spans()) == 40
    for one in collector.spans():
        assert one.parent is not None
        begin, end = times[one.parent.span_id]
        assert begin <= (one.start_time or 0) <= (one.end_time or 0) <= end
