import importlib
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Any

import pytest
from jam_testing.memory import MemorySessions

from jam_core import (
    Jam,
    JamConfigurationError,
    JamPluginConflict,
    JamPluginLoadError,
    JamPluginNotFound,
    JamSessionNotFound,
    hookimpl,
)
from tests.distributions import Site

Change = Callable[[dict[str, Any]], dict[str, Any] | None]
Wrapped = Generator[None, Any, Any]


class Recorder:
    """Notes every operation, its arguments and its result."""

    def __init__(self, name: str = "", seen: list[Any] | None = None) -> None:
        self.name = name
        self.seen: list[Any] = [] if seen is None else seen

    def _note(self, operation: str, **arguments: Any) -> Wrapped:
        result = yield
        self.seen.append((operation, arguments, result))
        return result

    @hookimpl(wrapper=True)
    def create(self, session_key: str, data: dict[str, Any]) -> Wrapped:
        return (yield from self._note("create", session_key=session_key, data=data))

    @hookimpl(wrapper=True)
    def get(self, session_id: str) -> Wrapped:
        return (yield from self._note("get", session_id=session_id))

    @hookimpl(wrapper=True)
    def update(self, session_id: str, data: dict[str, Any]) -> Wrapped:
        return (yield from self._note("update", session_id=session_id, data=data))

    @hookimpl(wrapper=True)
    def delete(self, session_id: str) -> Wrapped:
        return (yield from self._note("delete", session_id=session_id))

    @hookimpl(wrapper=True)
    def clear(self, session_key: str) -> Wrapped:
        return (yield from self._note("clear", session_key=session_key))

    @hookimpl(wrapper=True)
    def rework(self, session_id: str) -> Wrapped:
        return (yield from self._note("rework", session_id=session_id))

    @hookimpl(wrapper=True)
    def touch(self, session_id: str) -> Wrapped:
        return (yield from self._note("touch", session_id=session_id))

    @hookimpl(wrapper=True)
    def mutate(self, session_id: str, change: Change) -> Wrapped:
        return (yield from self._note("mutate", session_id=session_id, change=change))

    @hookimpl(wrapper=True)
    def purge(self) -> Wrapped:
        return (yield from self._note("purge"))


class Named:
    """Notes when it is entered and left."""

    def __init__(self, name: str, steps: list[str]) -> None:
        self.name = name
        self.steps = steps

    @hookimpl(wrapper=True)
    def get(self) -> Wrapped:
        self.steps.append(f"into {self.name}")
        result = yield
        self.steps.append(f"out of {self.name}")
        return result


def opened(*plugins: object, names: Sequence[str] = (), **settings: object) -> Jam:
    config = {"session": {"session_type": MemorySessions}, "wrappers": list(names), **settings}
    return Jam(config, wrappers=plugins)


def refused(
    *plugins: object,
    names: Sequence[str] = (),
    kind: type[JamPluginLoadError | JamPluginNotFound | JamPluginConflict] = JamPluginLoadError,
) -> str:
    with pytest.raises(kind) as caught:
        opened(*plugins, names=names)
    return caught.value.message


# --- what a wrapper sees and does ----------------------------------------------------


def test_a_wrapping_plugin_sees_the_arguments_and_the_result_of_every_operation() -> None:
    recorder = Recorder()
    jam = opened(recorder)

    def change(data: dict[str, Any]) -> None:
        data["b"] = 2

    first = jam.session_create("user1", {"a": 1})
    jam.session_get(first)
    jam.session_update(first, {"a": 2})
    jam.session_touch(first)
    jam.session_mutate(first, change)
    second = jam.session_rework(first)
    jam.session_delete(second)
    jam.session_clear("user1")
    jam.session_purge()
    assert recorder.seen == [
        ("create", {"session_key": "user1", "data": {"a": 1}}, first),
        ("get", {"session_id": first}, {"a": 1}),
        ("update", {"session_id": first, "data": {"a": 2}}, None),
        ("touch", {"session_id": first}, None),
        ("mutate", {"session_id": first, "change": change}, {"a": 2, "b": 2}),
        ("rework", {"session_id": first}, second),
        ("delete", {"session_id": second}, None),
        ("clear", {"session_key": "user1"}, None),
        ("purge", {}, 0),
    ]


def test_a_get_that_finds_nothing_is_none_through_any_number_of_wrapping_plugins() -> None:
    recorders = [Recorder(), Recorder(), Recorder()]
    assert opened(*recorders).session_get("no such id") is None
    assert [one.seen for one in recorders] == [
        [("get", {"session_id": "no such id"}, None)] for _ in recorders
    ]


def test_an_error_of_the_store_passes_through_wrapping_plugins() -> None:
    recorder = Recorder()
    with pytest.raises(JamSessionNotFound):
        opened(recorder).session_update("no such id", {})
    assert recorder.seen == []


def test_a_wrapping_plugin_may_see_an_error_and_answer_in_its_place() -> None:
    class Forgiving:
        @hookimpl(wrapper=True)
        def rework(self, session_id: str) -> Wrapped:
            try:
                return (yield)
            except JamSessionNotFound:
                return f"instead of {session_id}"

    assert opened(Forgiving()).session_rework("lost") == "instead of lost"


def test_a_wrapping_plugin_may_change_the_result() -> None:
    class Redacting:
        @hookimpl(wrapper=True)
        def get(self, session_id: str) -> Wrapped:
            data = yield
            return data and {**data, "password": "***"}

    jam = opened(Redacting())
    session_id = jam.session_create("user1", {"password": "hunter2", "a": 1})
    assert jam.session_get(session_id) == {"password": "***", "a": 1}
    assert jam.session_get("no such id") is None


def test_an_error_of_a_wrapping_plugin_reaches_the_caller() -> None:
    class Refusing:
        @hookimpl(wrapper=True)
        def create(self, session_key: str) -> Wrapped:
            if session_key == "banned":
                raise PermissionError("banned")
            return (yield)

    jam = opened(Refusing())
    assert jam.session_create("user1", {})
    with pytest.raises(PermissionError):
        jam.session_create("banned", {})


def test_the_first_of_several_wrapping_plugins_is_the_outermost() -> None:
    steps: list[str] = []
    opened(Named("a", steps), Named("b", steps), Named("c", steps)).session_get("id")
    into = ["into a", "into b", "into c"]
    assert steps == [*into, "out of c", "out of b", "out of a"]


def test_an_application_without_wrapping_plugins_is_not_wrapped_by_anothers() -> None:
    recorder = Recorder()
    opened(recorder)
    opened().session_create("user1", {})
    assert recorder.seen == []


def test_two_plugins_of_one_class_are_two_plugins() -> None:
    one, other = Recorder(), Recorder()
    opened(one, other).session_purge()
    assert len(one.seen) == len(other.seen) == 1


def test_the_store_out_of_the_application_is_not_wrapped() -> None:
    recorder = Recorder()
    jam = opened(recorder)
    session_id = jam.store.create("user1", {})
    assert jam.session_get(session_id) == {}
    assert [operation for operation, _, _ in recorder.seen] == ["get"]


# --- hooks may grow --------------------------------------------------------------------------


class Counting:
    def __init__(self) -> None:
        self.calls = 0


class NoArguments(Counting):
    """Knows none of the arguments of the hook."""

    @hookimpl(wrapper=True)
    def create(self) -> Wrapped:
        self.calls += 1
        return (yield)


class OneArgument(Counting):
    """Knows one of the arguments of the hook."""

    @hookimpl(wrapper=True)
    def create(self, data: dict[str, Any]) -> Wrapped:
        self.calls += data["step"]
        return (yield)


class OldStyle(Counting):
    """Written for the wrappers of pluggy before 1.2."""

    @hookimpl(hookwrapper=True)
    def create(self, session_key: str) -> Wrapped:
        outcome = yield
        self.calls += bool(outcome.get_result())


@pytest.mark.parametrize("kind", [NoArguments, OneArgument, OldStyle])
def test_a_plugin_that_names_only_some_of_the_arguments_works(kind: type[Counting]) -> None:
    plugin = kind()
    jam = opened(plugin)
    session_id = jam.session_create("user1", {"step": 1})
    assert jam.session_get(session_id) == {"step": 1}
    assert plugin.calls == 1


# --- plugins that do not fit -----------------------------------------------------------------


class AnswersLikeAStore:
    @hookimpl
    def get(self, session_id: str) -> dict[str, Any]:
        return {"forged": True}


class NoSuchHook:
    @hookimpl(wrapper=True)
    def creat(self, session_key: str) -> Wrapped:
        return (yield)


class NoOperation:
    @hookimpl(wrapper=True)
    def close(self) -> Wrapped:
        return (yield)


class Unmarked:
    def get(self, session_id: str) -> Wrapped:
        return (yield)


class NoSuchParameter:
    @hookimpl(wrapper=True)
    def get(self, sid: str) -> Wrapped:
        return (yield)


class NoGenerator:
    @hookimpl(wrapper=True)
    def get(self, session_id: str) -> None:
        return None


class NeedsItByName:
    @hookimpl(wrapper=True)
    def get(self, *, session_id: str) -> Wrapped:
        return (yield)


class Asynchronous:
    @hookimpl(wrapper=True)
    async def get(self, session_id: str) -> AsyncGenerator[None, None]:
        yield


class NeedsArguments(Recorder):
    def __init__(self, name: str) -> None:
        super().__init__(name)


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (AnswersLikeAStore(), "implements get as a store would"),
        (AnswersLikeAStore(), "@jam_core.hookimpl(wrapper=True)"),
        (NoSuchHook(), "wraps 'creat', which is not an operation. Did you mean 'create'?"),
        (NoSuchHook(), "jam_core.BaseSession"),
        (NoOperation(), "wraps 'close', which is not an operation"),
        (Unmarked(), "wraps no operation"),
        (Unmarked(), "@jam_core.hookimpl(wrapper=True)"),
        (NoSuchParameter(), "get(sid"),
        (NoSuchParameter(), "'sid'"),
        (NeedsItByName(), "get(session_id)"),
        (NoGenerator(), "not a generator"),
        (Asynchronous(), "`async def`"),
        (NeedsArguments, "failed to start: TypeError"),
    ],
)
def test_a_plugin_that_does_not_fit_is_refused_by_name(plugin: object, words: str) -> None:
    name = (plugin if isinstance(plugin, type) else type(plugin)).__qualname__
    message = refused(Recorder(), plugin)
    assert f"Plugin tests.test_wrapping.{name} " in message
    assert words in message
    assert " at 0x" not in message


def test_a_plugin_that_is_given_twice_is_refused_by_name() -> None:
    recorder = Recorder()
    message = refused(recorder, recorder)
    assert "Plugin tests.test_wrapping.Recorder is given twice" in message


def test_a_store_is_no_wrapping_plugin() -> None:
    message = refused(MemorySessions())
    assert "MemorySessions is a store, not a wrapper" in message


def test_a_class_is_instantiated() -> None:
    class Doubling:
        @hookimpl(wrapper=True)
        def purge(self) -> Wrapped:
            return 2 + (yield)

    assert opened(Doubling).session_purge() == 2


# --- plugins that the configuration names ----------------------------------------------------

MODULE = """
    import jam_core

    calls = []

    @jam_core.hookimpl(wrapper=True)
    def get(session_id):
        calls.append(session_id)
        return (yield)
"""
CLASS = """
    import jam_core

    calls = []

    class Audit:
        @jam_core.hookimpl(wrapper=True)
        def get(self, session_id):
            calls.append(session_id)
            return (yield)
"""
INSTANCE = CLASS + "\n    audit = Audit()\n"


@pytest.mark.parametrize(
    ("source", "attribute"), [(MODULE, ""), (CLASS, "Audit"), (INSTANCE, "audit")]
)
def test_a_named_plugin_may_be_a_module_a_class_or_an_instance(
    site: Site, source: str, attribute: str
) -> None:
    site.install_wrapper("audit", source, attribute)
    jam = opened(names=["audit"])
    session_id = jam.session_create("user1", {"a": 1})
    assert jam.session_get(session_id) == {"a": 1}
    assert sys.modules["toy_audit"].calls == [session_id]


def test_an_installed_plugin_that_is_not_named_is_not_imported(site: Site) -> None:
    site.install_wrapper("audit", CLASS, "Audit")
    opened().session_get("id")
    assert "toy_audit" not in sys.modules


def test_named_plugins_are_wrapped_in_their_order_inside_of_those_that_are_passed(
    site: Site,
) -> None:
    source = """
        import jam_core
        import toy_steps

        class Plugin:
            @jam_core.hookimpl(wrapper=True)
            def get(self):
                toy_steps.steps.append("into NAME")
                return (yield)
    """
    site.install("steps", {"toy_steps": "steps = []"}, {})
    for name in ("inner", "middle"):
        site.install_wrapper(name, source.replace("NAME", name), "Plugin")
    steps = importlib.import_module("toy_steps").steps
    opened(Named("outer", steps), names=["middle", "inner"]).session_get("id")
    assert steps == ["into outer", "into middle", "into inner", "out of outer"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('the toy is broken')", "fails to import: RuntimeError: the toy is"),
        ("import sys; sys.exit(3)", "fails to import: SystemExit"),
        ("import toy_driver", "it needs the package 'toy_driver', which is not installed"),
        ("", "fails to import: AttributeError"),
    ],
)
def test_a_named_plugin_that_cannot_be_loaded_is_named_with_its_distribution(
    site: Site, source: str, words: str
) -> None:
    site.install_wrapper("audit", source, "Plugin")
    message = refused(names=["audit"])
    assert "Plugin 'audit' (jam-audit 1.0, toy_audit:Plugin)" in message
    assert words in message
    assert "secret" not in message


def test_a_named_plugin_that_fails_to_start_is_named_without_the_words_of_its_error(
    site: Site,
) -> None:
    source = "class Plugin:\n        def __init__(self): raise ValueError('secret')"
    site.install_wrapper("audit", source, "Plugin")
    message = refused(names=["audit"])
    assert "audit: Plugin toy_audit.Plugin failed to start: ValueError" in message
    assert "secret" not in message


def test_a_named_plugin_that_does_not_fit_is_refused_by_name(site: Site) -> None:
    site.install_wrapper("audit", "class Plugin: pass", "Plugin")
    assert "Plugin toy_audit.Plugin wraps no operation" in refused(names=["audit"])


def test_a_named_module_that_does_not_fit_is_refused_by_name(site: Site) -> None:
    site.install_wrapper("audit", "")
    assert "Plugin toy_audit wraps no operation" in refused(names=["audit"])


def test_a_named_plugin_that_is_not_installed_is_answered_with_what_is(site: Site) -> None:
    site.install_wrapper("audit", CLASS, "Audit")
    message = refused(names=["adit"], kind=JamPluginNotFound)
    assert "wrapper 'adit' is not installed. Did you mean 'audit'? Installed: 'audit'." in message


def test_two_distributions_that_provide_one_plugin_are_both_named(site: Site) -> None:
    for name in ("one", "two"):
        module = f"toy_{name}"
        groups = {"jam.wrappers": {"audit": f"{module}:Audit"}}
        site.install(f"jam-{name}", {module: CLASS}, groups)
    message = refused(names=["audit"], kind=JamPluginConflict)
    assert "jam-one 1.0" in message
    assert "jam-two 1.0" in message
    assert "Uninstall all but one" in message


def test_a_wrapper_may_be_named_by_its_path(site: Site) -> None:
    site.install("mine", {"toy_mine": CLASS}, {})
    opened(names=["toy_mine:Audit"]).session_get("id")
    assert sys.modules["toy_mine"].calls == ["id"]


def test_a_wrapper_in_the_former_group_is_named_with_what_to_do(site: Site) -> None:
    site.install("jam-old", {"toy_old": CLASS}, {"jam.plugins": {"audit": "toy_old:Audit"}})
    message = refused(names=["audit"], kind=JamPluginNotFound)
    assert (
        "jam-old 1.0 provides it in the group jam.plugins, which is now called jam.wrappers"
        in message
    )


def test_the_former_name_of_the_setting_is_answered_with_the_present_one(site: Site) -> None:
    with pytest.raises(JamConfigurationError, match=r"jam\.plugins is now called wrappers"):
        Jam({"session": {"session_type": MemorySessions}, "plugins": ["audit"]})


# --- options of wrappers ---------------------------------------------------------------------

WITH_OPTIONS = """
    import jam_core

    class Audit:
        made = []

        def __init__(self, *, path: str, keep: int = 10):
            self.made.append((path, keep))

        @jam_core.hookimpl(wrapper=True)
        def get(self):
            return (yield)
"""


def test_a_wrapper_takes_its_options_from_a_table_of_its_own(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDIT", "audit.log")
    site.install_wrapper("audit", WITH_OPTIONS, "Audit")
    opened(names=["audit"], wrapper={"audit": {"path": "${AUDIT}", "keep": "30"}})
    assert sys.modules["toy_audit"].Audit.made == [("audit.log", 30)]


def test_a_wrapper_that_is_passed_by_name_takes_its_options_too(site: Site) -> None:
    site.install_wrapper("audit", WITH_OPTIONS, "Audit")
    opened("audit", wrapper={"audit": {"path": "audit.log"}})
    assert sys.modules["toy_audit"].Audit.made == [("audit.log", 10)]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "jam.wrapper.audit.path is missing: Audit needs it"),
        (
            {"path": "a", "keeep": 1},
            "jam.wrapper.audit.keeep is not an option of Audit. Did you mean",
        ),
        ({"path": "a", "keep": "some"}, "jam.wrapper.audit.keep must be a whole number"),
        (5, "jam.wrapper.audit must be a table"),
    ],
)
def test_options_that_a_wrapper_cannot_take_are_refused_with_their_keys(
    site: Site, table: object, words: str
) -> None:
    site.install_wrapper("audit", WITH_OPTIONS, "Audit")
    with pytest.raises(JamConfigurationError) as caught:
        opened(names=["audit"], wrapper={"audit": table})
    assert words in caught.value.message
    assert sys.modules["toy_audit"].Audit.made == []


def test_options_of_a_wrapper_that_is_no_class_are_refused(site: Site) -> None:
    site.install_wrapper("audit", MODULE)
    with pytest.raises(JamConfigurationError, match=r"jam\.wrapper\.audit cannot be set"):
        opened(names=["audit"], wrapper={"audit": {"path": "a"}})


def test_options_of_a_wrapper_that_is_not_used_are_refused(site: Site) -> None:
    site.install_wrapper("audit", WITH_OPTIONS, "Audit")
    with pytest.raises(JamConfigurationError) as caught:
        opened(names=["audit"], wrapper={"audit": {"path": "a"}, "adit": {}})
    assert (
        "jam.wrapper.adit holds the options of a wrapper that is not used" in caught.value.message
    )
    assert "Did you mean 'audit'?" in caught.value.message
