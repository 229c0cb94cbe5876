import json
import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Unpack

import pytest
from jam_testing.memory import MemorySessions

from jam_core import (
    BaseEncoder,
    BaseLogger,
    Jam,
    JamConfigurationError,
    JamLogger,
    JamPluginLoadError,
    JsonEncoder,
    MsgspecJsonEncoder,
    SessionOptions,
    generate_aes_key,
)
from tests.late_annotations import LateSessions


class OneOption(MemorySessions):
    """A store with one option of its own; `taking` gives it a type."""

    def __init__(self, *, option: Any, **options: Unpack[SessionOptions]) -> None:
        super().__init__(**options)
        self.option = option


def taking(annotation: object) -> type[OneOption]:
    """Return a store whose `option` is annotated so."""

    class Typed(OneOption):
        def __init__(self, *, option: Any, **options: Unpack[SessionOptions]) -> None:
            super().__init__(option=option, **options)

    Typed.__init__.__annotations__["option"] = annotation
    return Typed


def opened(store: object, **options: object) -> Any:
    return Jam({"session": {"session_type": store, **options}}).store


def bound(annotation: object, value: object) -> Any:
    """Return what a store gets for an option of a type that is configured so."""
    return opened(taking(annotation), option=value).option


def refused(store: object, **options: object) -> JamConfigurationError:
    with pytest.raises(JamConfigurationError) as caught:
        opened(store, **options)
    return caught.value


class Clock(Protocol):
    def now(self) -> float: ...


class Sundial:
    def now(self) -> float:
        return 12.0


def greeting() -> str:
    return "hello"


SUNDIAL = Sundial()
HERE = "tests.test_options"


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (int, "60", 60),
        (int, " 60 ", 60),
        (int, "-1", -1),
        (float, "0.5", 0.5),
        (float, "2", 2.0),
        (bool, "true", True),
        (bool, "Yes", True),
        (bool, "on", True),
        (bool, "1", True),
        (bool, "FALSE", False),
        (bool, "no", False),
        (bool, "off", False),
        (bool, "0", False),
        (int | None, "none", None),
        (int | None, "Null", None),
        (int | None, "5", 5),
        (str, "60", "60"),
        (str, "", ""),
        (int | str, "60", "60"),
        (bytes, "grün", "grün".encode()),
        (Path, "/var/lib", Path("/var/lib")),
        (Path | None, "/var/lib\r\n", Path("/var/lib")),
        (PathLike[str], "/var/lib\r", Path("/var/lib")),
        (Path | None, "none", Path("none")),
        (PathLike[str], "/var/lib", Path("/var/lib")),
        (list[str], "a, b,c", ["a", "b", "c"]),
        (list[str], "", []),
        (list[int], "1,2", [1, 2]),
        (list[int | None], "1,none", [1, None]),
        (Sequence[int], "1,2", [1, 2]),
        (tuple[int, ...], "1,2", (1, 2)),
        (set[str], "a,b", {"a", "b"}),
        (list, "a,b", ["a", "b"]),
        (Literal["fast", "safe"], "safe", "safe"),
        (Any, "60", "60"),
    ],
)
def test_a_text_becomes_what_the_store_asks_for(
    annotation: object, text: str, value: object
) -> None:
    found = bound(annotation, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (Callable[[], str], f"{HERE}:greeting", greeting),
        (Callable[[], str] | None, f"{HERE}.greeting", greeting),
        (type[Sundial], f"{HERE}:Sundial", Sundial),
        (Sundial, f"{HERE}:SUNDIAL", SUNDIAL),
        (Sundial | type[Sundial], f"{HERE}:Sundial", Sundial),
        (Clock, f"{HERE}:SUNDIAL", SUNDIAL),
        (Callable[[], str], f"{HERE}:SUNDIAL.now", SUNDIAL.now),
        (BaseEncoder | type[BaseEncoder], "jam_core:MsgspecJsonEncoder", MsgspecJsonEncoder),
        (BaseEncoder | None, "none", None),
        (Callable[[], str] | int, "5", 5),
    ],
)
def test_a_text_may_name_an_object(annotation: object, text: str, value: object) -> None:
    assert bound(annotation, text) == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 60),
        (float, 60),
        (float, 0.5),
        (bool, False),
        (int | None, None),
        (bytes, b"\xff"),
        (Path, Path("here")),
        (str | PathLike[str], Path("here")),
        (list[int], [1, 2]),
        (list[Any], [1, "a", None]),
        (list, [1, "a"]),
        (tuple[str, int], ("host", 80)),
        (Sequence[str | bytes], ("a", b"b")),
        (dict[str, Any], {"a": 1}),
        (dict, {}),
        (Mapping[str, int], {"a": 1}),
        (Literal["fast", 1], 1),
        (Callable[[], str], greeting),
        (type, Sundial),
        (type[Sundial], Sundial),
        (Sundial, SUNDIAL),
        (Clock, SUNDIAL),
        (Any, SUNDIAL),
        (object, SUNDIAL),
    ],
)
def test_what_fits_already_is_passed_as_it_is(annotation: object, value: object) -> None:
    found = bound(annotation, value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value", "found"),
    [
        (list[int], ["1", 2], [1, 2]),
        (list[Path], ["a"], [Path("a")]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (frozenset[str], ["a", "b"], frozenset({"a", "b"})),
    ],
)
def test_the_items_of_a_list_are_converted_too(
    annotation: object, value: object, found: object
) -> None:
    assert bound(annotation, value) == found


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        (int, "soon", "must be a whole number, not this string."),
        (int, "1.5", "must be a whole number, not this string."),
        (int, 1.5, "must be a whole number, not a fraction."),
        (int, True, "must be a whole number, not true or false."),
        (int, None, "must be a whole number, not none."),
        (int, [1], "must be a whole number, not this list."),
        (int | None, "soon", "must be a whole number or none, not this string."),
        (float, "fast", "must be a number, not this string."),
        (float, "inf", "must be a number, not this string."),
        (float | None, "nan", "must be a number or none, not this string."),
        (float, float("inf"), "must be a number; infinity and NaN are not allowed."),
        (float | None, float("nan"), "must be a number or none; infinity and NaN are not allowed."),
        (float, 10**400, "must be a number; infinity and NaN are not allowed."),
        (int, "7" * 5_000, "must be a whole number, not this string."),
        (PathLike[str], "'/var/lib'", "has quotes around its value: remove them."),
        (str | bytes | None, '"text"', "has quotes around its value: remove them."),
        (float, False, "must be a number, not true or false."),
        (bool, "maybe", "must be true or false, not this string."),
        (bool, 1, "must be true or false, not a number."),
        (str, 5, "must be a string, not a number."),
        (str | bytes, 5, "must be a string, not a number."),
        (Path, 5, "must be a path, not a number."),
        (PathLike[str], 5, "must be a path, not a number."),
        (list[int], "1,x", "must be a list (each a whole number), not this string."),
        (list[int], [1, "x"], "must be a list (each a whole number), not this list."),
        (list[int], 5, "must be a list (each a whole number), not a number."),
        (list, 5, "must be a list, not a number."),
        (dict[str, Any], "a=1", "must be a table, not this string."),
        (Literal["fast", "safe"], "fsat", "must be one of 'fast', 'safe', not this string."),
        (Sundial, 5, "must be an instance of Sundial (or the path of one, "),
        (type[Sundial], Clock, "must be a subclass of Sundial (or the path of one, "),
        (Sundial, f"{HERE}:greeting", "must be an instance of Sundial (or the path of one, "),
        (Callable[[], str], 5, "must be a function (or the path of one, "),
        (Callable[[], str], f"{HERE}:HERE", "must be a function (or the path of one, "),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_key_and_what_is_expected(
    annotation: object, value: object, words: str
) -> None:
    message = refused(taking(annotation), option=value).message
    assert message.startswith(f"the configuration dict: jam.session.option {words}")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (":greeting", "does not name an object"),
        (f"{HERE}:", "does not name an object"),
        ("tests.no_such_module:x", "there is no module 'tests.no_such_module'"),
        ("no_such_package.module:x", "there is no module 'no_such_package'"),
        (f"{HERE}:greting", "has no 'greting'. Did you mean 'greeting'?"),
        (f"{HERE}:Sundial.noon", "has no 'noon'"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_its_key_and_the_reason(
    path: str, words: str
) -> None:
    error = refused(taking(Callable[[], str]), option=path)
    assert "jam.session.option cannot be used" in error.message
    assert words in error.message
    assert isinstance(error.__cause__, JamPluginLoadError)


def test_an_option_without_default_must_be_given() -> None:
    message = refused(taking(int | None)).message
    assert "jam.session.option is missing: Typed needs it, a whole number or none." in message


@pytest.mark.parametrize("annotation", [Any, Clock, tuple[int, ...], list])
def test_an_option_of_any_type_can_be_missed(annotation: object) -> None:
    assert "jam.session.option is missing" in refused(taking(annotation)).message


def test_an_unknown_option_is_refused_with_the_one_that_was_meant() -> None:
    message = refused(MemorySessions, tll=60).message
    assert "jam.session.tll is not an option of MemorySessions. Did you mean 'ttl'?" in message


def test_an_unknown_option_that_resembles_nothing_is_refused_with_all_that_there_are() -> None:
    message = refused(MemorySessions, colour="red").message
    assert "jam.session.colour is not an option of MemorySessions. Its options: " in message
    for option in ("clock", "default_ttl", "is_session_crypt", "max_age", "ttl"):
        assert option in message


def test_an_unknown_option_of_a_text_that_is_no_identifier_is_refused() -> None:
    assert (
        "jam.session.max age is not an option" in refused(MemorySessions, **{"max age": 5}).message
    )


def test_every_wrong_option_is_named_at_once() -> None:
    error = refused(taking(int), ttl="soon", max_agee=5, logger=5)
    assert len(error.problems) == 4


# --- the options of every store --------------------------------------------------------------


def test_the_defaults_are_the_documented_ones() -> None:
    store = opened(MemorySessions)
    assert (store.ttl, store.max_age) == (3600, None)
    assert isinstance(store.logger, JamLogger)
    assert store.codec.writes_plain_json


@pytest.mark.parametrize(
    ("options", "ttl", "max_age"),
    [
        ({"ttl": "60", "max_age": "120"}, 60, 120),
        ({"ttl": "none"}, None, None),
        ({"ttl": None, "max_age": None}, None, None),
        ({"ttl": 1, "max_age": 1}, 1, 1),
    ],
)
def test_ttl_and_max_age_are_seconds_or_none(
    options: dict[str, object], ttl: int | None, max_age: int | None
) -> None:
    store = opened(MemorySessions, **options)
    assert (store.ttl, store.max_age) == (ttl, max_age)


@pytest.mark.parametrize("name", ["ttl", "max_age"])
def test_ttl_and_max_age_are_fixed_when_the_store_is_built(name: str) -> None:
    store = MemorySessions(ttl=60, max_age=120)
    with pytest.raises(JamConfigurationError, match=f"{name} cannot be changed"):
        setattr(store, name, 20)
    assert (store.ttl, store.max_age) == (60, 120)


@pytest.mark.parametrize("name", ["ttl", "max_age"])
@pytest.mark.parametrize("value", [0, -1, True, False, 1.0, 0.5, "soon", "60"])
def test_the_constructor_refuses_what_is_no_number_of_seconds(name: str, value: Any) -> None:
    options: dict[str, Any] = {name: value}
    with pytest.raises(JamConfigurationError, match=f"^{name} must be a whole number of seconds"):
        MemorySessions(**options)


@pytest.mark.parametrize("name", ["ttl", "max_age", "default_ttl"])
@pytest.mark.parametrize("value", [0, "0", -1, "-1", True, 1.0, "0.5"])
def test_the_configuration_refuses_what_is_no_number_of_seconds(name: str, value: object) -> None:
    message = refused(MemorySessions, **{name: value}).message
    assert message.startswith("the configuration dict: jam.session")
    assert f"{name.removeprefix('default_')} must be a whole number" in message


@pytest.mark.parametrize(
    "serializer", ["jam_core:MsgspecJsonEncoder", "jam.encoders.MsgspecJsonEncoder"]
)
def test_the_serializer_can_be_named_in_a_file(tmp_path: Path, serializer: str) -> None:
    path = tmp_path / "jam.json"
    options = {"session_type": "jam_testing.memory:MemorySessions", "serializer": serializer}
    path.write_text(json.dumps({"jam": {"session": options}}))
    jam = Jam(path)
    session_id = jam.session_create("user1", {"a": [1]})
    assert jam.session_get(session_id) == {"a": [1]}
    assert not jam.store.codec.writes_plain_json


@pytest.mark.parametrize("serializer", [JsonEncoder, JsonEncoder()])
def test_the_serializer_may_be_a_class_or_an_instance(serializer: object) -> None:
    assert opened(MemorySessions, serializer=serializer).codec.writes_plain_json


def test_what_is_no_serializer_is_refused() -> None:
    message = refused(MemorySessions, serializer="json:JSONEncoder").message
    assert "jam.session.serializer must be an instance of BaseEncoder or a subclass" in message


def test_the_id_factory_can_be_named() -> None:
    jam = Jam({"session": {"session_type": MemorySessions, "id_factory": f"{HERE}:greeting"}})
    assert jam.session_create("user1", {}) == "hello"


class ListLogger(BaseLogger):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, message: str, *args: object) -> None: ...

    def info(self, message: str, *args: object) -> None: ...

    def warning(self, message: str, *args: object) -> None:
        self.lines.append(message % args)

    def error(self, message: str, *args: object) -> None: ...


@pytest.mark.parametrize("logger", [ListLogger, f"{HERE}:ListLogger", ListLogger()])
def test_the_logger_may_be_a_class_or_its_path_or_an_instance(logger: object) -> None:
    key = generate_aes_key()
    store = opened(MemorySessions, logger=logger, session_aes_secret=key)
    (line,) = store.logger.lines
    assert "nothing is encrypted" in line
    assert key.decode() not in line


@pytest.mark.parametrize("logger", [None, "none"])
def test_no_logger_logs_nowhere(caplog: pytest.LogCaptureFixture, logger: object) -> None:
    with caplog.at_level(logging.DEBUG):
        opened(MemorySessions, logger=logger, session_aes_secret="a key", is_session_crypt=False)
    assert not caplog.records


def test_the_default_logger_is_the_standard_librarys_logger_jam(
    caplog: pytest.LogCaptureFixture,
) -> None:
    MemorySessions(session_aes_secret="a key")
    assert [(one.name, one.levelname) for one in caplog.records] == [("jam", "WARNING")]


@pytest.mark.parametrize("secret", ["one key", ["new", "old"]])
def test_keys_without_encryption_are_no_error(secret: object) -> None:
    jam = Jam({"session": {"session_type": MemorySessions, "session_aes_secret": secret}})
    assert jam.session_get(jam.session_create("user1", {"a": 1})) == {"a": 1}


# --- aliases ---------------------------------------------------------------------------------


class Aliased(MemorySessions):
    aliases: ClassVar[Mapping[str, str]] = {"where": "spot", "location": "spot"}

    def __init__(self, *, spot: int = 0, **options: Unpack[SessionOptions]) -> None:
        super().__init__(**options)
        self.spot = spot


@pytest.mark.parametrize("name", ["ttl", "default_ttl"])
def test_ttl_may_be_called_default_ttl(name: str) -> None:
    assert opened(MemorySessions, **{name: 60}).ttl == 60


@pytest.mark.parametrize("name", ["spot", "where", "location"])
def test_a_store_may_have_aliases_of_its_own_beside_the_inherited(name: str) -> None:
    store = opened(Aliased, **{name: "5", "default_ttl": 60})
    assert (store.spot, store.ttl) == (5, 60)


@pytest.mark.parametrize("name", ["spot", "where", "location"])
def test_the_constructor_takes_aliases_too(name: str) -> None:
    options: dict[str, Any] = {name: 5, "default_ttl": 60}
    store = Aliased(**options)
    assert (store.spot, store.ttl) == (5, 60)


BOTH = [("spot", "where"), ("where", "spot"), ("where", "location"), ("ttl", "default_ttl")]


@pytest.mark.parametrize("names", BOTH)
def test_two_names_of_one_option_are_an_error_in_the_configuration(names: tuple[str, str]) -> None:
    message = refused(Aliased, **dict.fromkeys(names, 5)).message
    assert "not both" in message
    assert all(name in message for name in names)


@pytest.mark.parametrize("names", BOTH)
def test_two_names_of_one_option_are_an_error_in_the_constructor(names: tuple[str, str]) -> None:
    options: dict[str, Any] = dict.fromkeys(names, 5)
    with pytest.raises(JamConfigurationError, match="not both") as caught:
        Aliased(**options)
    assert names[1] in caught.value.message


def test_a_wrong_value_is_named_by_the_alias_that_was_written() -> None:
    assert "jam.session.where must be" in refused(Aliased, where="x").message


def test_an_alias_is_as_good_as_the_option_that_must_be_given() -> None:
    class Needy(Aliased):
        def __init__(self, *, spot: int, **options: Unpack[SessionOptions]) -> None:
            super().__init__(spot=spot, **options)

    assert opened(Needy, where=5).spot == 5
    assert "jam.session.spot is missing" in refused(Needy).message


# --- inheritance -----------------------------------------------------------------------------


class Child(OneOption):
    """Passes on what it does not know."""

    def __init__(self, *, name: str = "child", **options: Any) -> None:
        super().__init__(**options)
        self.name = name


class Grandchild(Child):
    """Has no constructor."""


class Closed(Child):
    """Passes nothing on."""

    def __init__(self, *, size: int = 0) -> None:
        super().__init__(option=None)
        self.size = size


class Mixin:
    """Has nothing to do with sessions."""


class Mixed(Mixin, Child):
    """Inherits from a class that is not a store."""


class Narrowed(Child):
    """Redefines an inherited option."""

    def __init__(self, *, name: Literal["a", "b"] = "a", **options: Any) -> None:
        super().__init__(name=name, **options)


@pytest.mark.parametrize("store", [Child, Grandchild, Mixed])
def test_options_that_a_constructor_passes_on_are_options_of_the_store(store: object) -> None:
    found = opened(store, option=1, name="x", ttl="60")
    assert (found.option, found.name, found.ttl) == (1, "x", 60)
    assert "Did you mean 'ttl'?" in refused(store, option=1, tll=60).message
    assert "jam.session.option is missing" in refused(store).message


def test_options_that_a_constructor_does_not_pass_on_are_none_of_the_store() -> None:
    assert opened(Closed, size="5").size == 5
    message = refused(Closed, ttl=60).message
    assert "jam.session.ttl is not an option of Closed" in message


def test_the_nearest_definition_of_an_option_counts() -> None:
    assert opened(Narrowed, option=1, name="b").name == "b"
    assert "must be one of 'a', 'b'" in refused(Narrowed, option=1, name="c").message


def test_an_annotation_for_type_checkers_only_leaves_just_its_own_option_unchecked() -> None:
    store = opened(LateSessions, number="5", price=Decimal(1))
    assert (store.number, store.price) == (5, Decimal(1))
    assert "jam.session.number must be a whole number" in refused(LateSessions, number="x").message
    assert "jam.session.path must be a string" in refused(LateSessions, number=1, path=5).message


def test_an_option_without_annotation_takes_anything() -> None:
    class Bare(MemorySessions):
        def __init__(self, *, what=None, **options: Any) -> None:  # type: ignore[no-untyped-def]
            super().__init__(**options)
            self.what = what

    assert opened(Bare, what=SUNDIAL).what is SUNDIAL
    assert opened(Bare, what="60").what == "60"
