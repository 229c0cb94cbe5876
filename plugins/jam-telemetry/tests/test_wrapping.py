"""The plugin among other plugins, in every kind of process, chosen by configuration."""

import asyncio
import json
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pluggy
import pytest
from opentelemetry.sdk.trace import ReadableSpan

from jam_core import BaseSession, Jam, JamSessionNotFound, hookimpl

from .backends import Backend
from .collector import Collector

OpenJam = Callable[..., Jam]


# --- among other plugins ---------------------------------------------------------------------


class Forgiving:
    """Answers for a session that is gone."""

    @hookimpl(wrapper=True)
    def rework(self) -> Generator[None, Any, Any]:
        try:
            return (yield)
        except JamSessionNotFound:
            return "forgiven"


def test_it_sees_what_the_plugins_inside_of_it_answer(
    backend: Backend, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin(), Forgiving(), **backend.session)
    assert jam.session_rework("unknown") == "forgiven"
    assert collector.counts("error.type") == {(None,): 1}


def test_it_sees_nothing_of_what_the_plugins_outside_of_it_do(
    backend: Backend, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(Forgiving(), collector.plugin(), **backend.session)
    assert jam.session_rework("unknown") == "forgiven"
    assert collector.counts("error.type") == {("sessions.not_found",): 1}


def test_every_hook_of_a_store_is_observed(collector: Collector) -> None:
    manager = pluggy.PluginManager("jam")
    manager.add_hookspecs(BaseSession)
    manager.register(collector.plugin())
    hooks = {name: hook for name, hook in vars(manager.hook).items() if hook.has_spec()}
    assert {"create", "ping"} <= set(hooks)
    for name, hook in hooks.items():
        hook(**dict.fromkeys(hook.spec.argnames))
        assert collector.last().name == f"{name} sessions"
    assert len(collector.spans()) == len(hooks)


def test_a_core_that_lacks_an_operation_takes_it(collector: Collector) -> None:
    class OlderCore:
        @pluggy.HookspecMarker("jam")
        def get(self, session_id: str) -> None: ...

    manager = pluggy.PluginManager("jam")
    manager.add_hookspecs(OlderCore)
    manager.register(collector.plugin())
    manager.check_pending()
    manager.hook.get(session_id="unknown")
    assert collector.last().name == "get sessions"


# --- threads, tasks, processes ---------------------------------------------------------------


def pairs(collector: Collector) -> list[tuple[ReadableSpan, ReadableSpan]]:
    """Return the spans of the plugin, each with its parent."""
    by_id = {span.context.span_id: span for span in collector.all_spans() if span.context}
    return [(by_id[span.parent.span_id], span) for span in collector.spans() if span.parent]


def test_each_thread_has_its_own_parent(
    backend: Backend, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin(), **backend.session)
    tracer = collector.tracer_provider.get_tracer("test")
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        barrier.wait()
        for _ in range(10):
            with tracer.start_as_current_span(f"thread {number}", attributes={"n": number}):
                session_id = jam.session_create(f"user{number}", {})
                jam.session_get(session_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collector.counts("db.operation.name", "jam.session.found") == {
        ("create", None): 40,
        ("get", True): 40,
    }
    found = pairs(collector)
    assert len(found) == 80
    for parent, _ in found:
        # Children of one parent follow each other: each thread's own operations, no other's.
        assert parent.name.startswith("thread")
        siblings = [other.name for mother, other in found if mother is parent]
        assert siblings == ["create sessions", "get sessions"]


@pytest.mark.parametrize("is_in_a_thread", [False, True], ids=["direct", "to_thread"])
def test_each_task_has_its_own_parent(
    is_in_a_thread: bool, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin())
    tracer = collector.tracer_provider.get_tracer("test")

    async def call(function: Callable[..., Any], *arguments: object) -> Any:
        if is_in_a_thread:
            return await asyncio.to_thread(function, *arguments)
        return function(*arguments)

    async def handle(number: int) -> None:
        with tracer.start_as_current_span(f"request {number}"):
            session_id = await call(jam.session_create, f"user{number}", {})
            await asyncio.sleep(0)
            await call(jam.session_get, session_id)

    async def main() -> None:
        await asyncio.gather(*(handle(number) for number in range(5)))

    asyncio.run(main())
    found = pairs(collector)
    assert len(found) == 10
    for number in range(5):
        children = [span.name for parent, span in found if parent.name == f"request {number}"]
        assert children == ["create sessions", "get sessions"]


def test_a_forked_process_has_its_own_spans_and_points(
    backend: Backend, collector: Collector, open_jam: OpenJam
) -> None:
    jam = open_jam(collector.plugin(), **backend.session)
    session_id = jam.session_create("user1", {"a": 1})
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()

    def child() -> None:
        theirs.send(jam.session_get(session_id))
        theirs.send([span.name for span in collector.spans()])
        theirs.send(collector.counts("db.operation.name", "jam.session.found"))

    process = fork.Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert ours.recv() == {"a": 1}
    assert ours.recv() == ["create sessions", "get sessions"]
    assert ours.recv() == {("create", None): 1, ("get", True): 1}
    assert [span.name for span in collector.spans()] == ["create sessions"]


# --- chosen by configuration -----------------------------------------------------------------

ROUND = """
from jam_core import JamSessionNotFound

session_id = jam.session_create("user1", {"a": 1})
assert jam.session_get(session_id) == {"a": 1}
assert jam.session_get("unknown") is None
try:
    jam.session_update("unknown", {})
except JamSessionNotFound:
    pass
else:
    raise AssertionError("an unknown id was updated")
jam.close()
"""

WITH_AN_SDK = """
import json
from jam import Jam

jam = Jam(config="config.toml")

# An application may well set the SDK up after it opened its sessions.
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
metrics.set_meter_provider(MeterProvider([reader]))
{round}
print(json.dumps([
    [span.name for span in exporter.get_finished_spans()],
    json.loads(reader.get_metrics_data().to_json()),
]))
"""

WITHOUT_AN_SDK = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("opentelemetry.sdk"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())

from jam import Jam

jam = Jam(config="config.toml")
{round}
assert "jam_telemetry" in sys.modules
from opentelemetry import trace
assert not trace.get_current_span().is_recording()
print("done")
"""


def printed(script: str, directory: Path, session: dict[str, str]) -> str:
    """Return what a script prints whose config.toml names the plugin."""
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in session.items())
    (directory / "config.toml").write_text(
        f'[jam]\nwrappers = ["telemetry"]\n\n[jam.session]\n{lines}\n'
    )
    ran = subprocess.run(
        [sys.executable, "-c", script.format(round=ROUND)],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )
    assert ran.stderr == ""
    return ran.stdout


def test_the_configuration_alone_turns_it_on(backend: Backend, tmp_path: Path) -> None:
    names, metrics = json.loads(printed(WITH_AN_SDK, tmp_path, backend.session))
    operations = ["create", "get", "get", "update"]
    assert names == [f"{operation} sessions" for operation in operations]
    (scope,) = metrics["resource_metrics"][0]["scope_metrics"]
    assert scope["scope"]["name"] == "jam_telemetry"
    (metric,) = scope["metrics"]
    assert sum(point["count"] for point in metric["data"]["data_points"]) == len(operations)


def test_without_an_sdk_sessions_work_and_nothing_is_emitted(
    backend: Backend, tmp_path: Path
) -> None:
    assert printed(WITHOUT_AN_SDK, tmp_path, backend.session) == "done\n"


# --- options ---------------------------------------------------------------------------------


def test_the_providers_can_be_named_in_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy_providers.py").write_text(
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.metrics.export import InMemoryMetricReader\n"
        "reader = InMemoryMetricReader()\n"
        "ours = MeterProvider([reader], shutdown_on_exit=False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = {
        "session": {"session_type": "json", "json_path": str(tmp_path / "json")},
        "wrappers": ["telemetry"],
        "wrapper": {"telemetry": {"meter_provider": "toy_providers:ours"}},
    }
    with Jam(settings) as jam:
        jam.session_get("unknown")
    reader = sys.modules.pop("toy_providers").reader
    assert "db.client.operation.duration" in reader.get_metrics_data().to_json()
