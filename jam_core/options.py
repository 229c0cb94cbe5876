"""Binding configuration keys to a plugin's constructor: its annotations are the schema."""

import inspect
import math
import os
import re
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from jam_core.config import is_quoted
from jam_core.exceptions import JamPluginLoadError
from jam_core.importing import import_object
from jam_core.problems import Problems, close_match
from jam_core.session import BaseSession, aliases_of

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NONE = ("none", "null")
# Anything else is neither imported nor repeated in a message: it may be a secret.
_IMPORT_PATH = re.compile(r"(?=.*[.:])[\w.]*(:[\w.]*)?")
_MISSING = inspect.Parameter.empty


class Option(NamedTuple):
    """One option of a store, or of another plugin.

    Attributes:
        name: Its name.
        annotation: The types that it takes.
        default: Its default, or `inspect.Parameter.empty` if it must be given.
        aliases: Its other names.
    """

    name: str
    annotation: Any
    default: Any
    aliases: tuple[str, ...]

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is _MISSING

    @property
    def takes(self) -> str:
        """What it takes, in words."""
        return _describe(self.annotation)


def options_of(plugin: type) -> dict[str, Option]:
    """Return the options of a plugin's class, by name.

    They are the parameters of its constructor; if that takes `**options`, those of the next
    constructor in the inheritance follow, as `super().__init__(**options)` passes them on.
    """
    options: dict[str, Option] = {}
    aliases = aliases_of(plugin) if issubclass(plugin, BaseSession) else {}
    for parent in plugin.__mro__:
        constructor = vars(parent).get("__init__")
        if constructor is None:
            continue
        passes_on = False
        hints = _type_hints(constructor)
        for parameter in list(inspect.signature(constructor).parameters.values())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                passes_on = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                name = parameter.name
                others = tuple(sorted(alias for alias, of in aliases.items() if of == name))
                option = Option(name, hints.get(name, Any), parameter.default, others)
                options.setdefault(name, option)
        if not passes_on:
            break
    return options


def options_that_create(store: type) -> list[str]:
    """Return the options that let a store create what it lacks: `create`, or `create_...`."""
    return [
        name
        for name, option in options_of(store).items()
        if (name == "create" or name.startswith("create_")) and option.default is True
    ]


def _type_hints(constructor: Callable[..., None]) -> dict[str, Any]:
    """Return a constructor's annotations, without those that only type checkers can resolve."""
    function = inspect.unwrap(constructor)
    hints: dict[str, Any] = {}
    for name, annotation in inspect.get_annotations(function).items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(NameError):
            hints |= get_type_hints(one, function.__globals__)
    return hints


def bind_options(plugin: type, given: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Turn configuration keys into keyword arguments for a plugin's class.

    Args:
        plugin: The class.
        given: The keys and their values. A string may stand for a number, a bool ("yes"), None
            ("none"), a path, a list (commas between), or an object ("package.module:name").
        problems: Collects what is wrong with them.

    Returns:
        The arguments, under the options' own names.
    """
    options = options_of(plugin)
    aliases = {alias: option.name for option in options.values() for alias in option.aliases}
    arguments: dict[str, Any] = {}
    given_as: dict[str, str] = {}
    for key, value in ((str(key), value) for key, value in given.items()):
        name = aliases.get(key, key)
        if name not in options:
            problems.at(key).add(_unknown(key, [*options, *aliases], plugin))
        elif name in given_as:
            text = f"is another name for {given_as[name]}: give one of them, not both."
            problems.at(key).add(text)
        else:
            given_as[name] = key
            try:
                arguments[name] = _convert(value, options[name].annotation)
            except _Mismatch as mismatch:
                problems.at(key).add(str(mismatch), mismatch.__cause__)
    for name, option in options.items():
        if option.required and name not in given_as:
            problems.at(name).add(f"is missing: {plugin.__name__} needs it, {option.takes}.")
    return arguments


class _Mismatch(Exception):
    """A value is not of the option's type; the message ends a sentence that names the key."""


def _unknown(key: str, known: Sequence[str], plugin: type) -> str:
    match = close_match(key, known)
    its = f" Its options: {', '.join(sorted(known)) or 'none'}."
    return f"is not an option of {plugin.__name__}.{match or its}"


def _convert(value: Any, annotation: Any) -> Any:
    """Return `value` as one of the annotated types, or raise _Mismatch."""
    alternatives = _alternatives(annotation)
    if isinstance(value, str) and any(
        (get_origin(kind) or kind) in _TEXTS for kind in alternatives
    ):
        value = value.strip("\r\n")
        if is_quoted(value):
            raise _Mismatch("has quotes around its value: remove them.")
    if float in alternatives and not _is_finite(value):
        raise _Mismatch(f"must be {_describe(annotation)}; infinity and NaN are not allowed.")
    if any(_fits(value, kind) for kind in alternatives):
        return value
    mismatch = _Mismatch(f"must be {_describe(annotation)}, not {_kind_of(value)}.")
    for kind in alternatives:
        try:
            return _parse(value, kind)
        except (ValueError, TypeError):
            continue
        except JamPluginLoadError as error:
            mismatch = _Mismatch(f"cannot be used: {error.message}")
            mismatch.__cause__ = error
    raise mismatch


def _is_finite(value: object) -> bool:
    """Tell whether a number can be a finite float; anything but a number passes."""
    try:
        return not isinstance(value, int | float) or math.isfinite(value)
    except OverflowError:
        return False


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is already of this type."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if kind is Any:
        fits = True
    elif origin is Literal:
        fits = value in arguments
    elif origin is type:
        fits = isinstance(value, type) and issubclass(value, arguments or object)
    elif origin is Callable:
        fits = callable(value)
    elif origin in (int, float):
        fits = isinstance(value, (int, origin)) and not isinstance(value, bool)
    elif origin in _COLLECTIONS:
        fits = (
            isinstance(value, origin)
            and not isinstance(value, str | bytes)
            and all(_item_fits(item, arguments) for item in value)
        )
    else:
        fits = _is_instance(value, origin)
    return fits


def _item_fits(item: Any, kinds: tuple[Any, ...]) -> bool:
    return not kinds or any(_fits(item, one) for kind in kinds for one in _alternatives(kind))


def _is_instance(value: Any, kind: Any) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # only a type checker can check this type, as with a Protocol
        return not isinstance(value, str)


def _parse(value: Any, kind: Any) -> Any:
    """Make a value of a type from a string, as it comes from the environment or a file."""
    origin = get_origin(kind) or kind
    if origin in _COLLECTIONS:
        return _parse_collection(value, kind, _COLLECTIONS[origin])
    if not isinstance(value, str):
        raise TypeError
    if origin in _READERS:
        return _READERS[origin](value)
    if _names_an_object(kind) and _IMPORT_PATH.fullmatch(value.strip()):
        found = import_object(value.strip())
        if _fits(found, kind):
            return found
    raise ValueError


def _parse_collection(value: Any, kind: Any, build: Callable[[list[Any]], Any]) -> Any:
    if isinstance(value, str):
        value = [item.strip() for item in value.split(",") if item.strip()]
    elif not isinstance(value, list | tuple):
        raise TypeError
    (item_kind, *_) = get_args(kind) or (Any,)
    try:
        return build([_convert(item, item_kind) for item in value])
    except _Mismatch as mismatch:
        raise ValueError from mismatch


def _read_bool(text: str) -> bool:
    word = text.strip().lower()
    if word not in _TRUE + _FALSE:
        raise ValueError
    return word in _TRUE


def _read_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _read_none(text: str) -> None:
    if text.strip().lower() not in _NONE:
        raise ValueError


_READERS: dict[Any, Callable[[str], Any]] = {
    bool: _read_bool,
    int: int,
    float: _read_float,
    bytes: str.encode,
    types.NoneType: _read_none,
    Path: Path,
    os.PathLike: Path,
}
_TEXTS = frozenset({str, bytes, Path, os.PathLike})
_COLLECTIONS: dict[Any, Callable[[list[Any]], Any]] = {
    list: list,
    Sequence: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
}
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a string",
    bytes: "a string",
    types.NoneType: "none",
    Path: "a path",
    os.PathLike: "a path",
    dict: "a table",
    Any: "any value",
}


def _names_an_object(kind: Any) -> bool:
    """Tell whether a string can stand for a value of this type only as an import path."""
    known = kind in _WORDS or kind in _COLLECTIONS
    return get_origin(kind) in (type, Callable) or (isinstance(kind, type) and not known)


def _describe(annotation: Any) -> str:
    """Say in words what an option takes."""
    kinds = _alternatives(annotation)
    words = " or ".join(dict.fromkeys(_describe_one(kind) for kind in kinds))
    if any(_names_an_object(kind) for kind in kinds):
        words += ' (or the path of one, "package.module:name")'
    return words


def _describe_one(kind: Any) -> str:
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    name = getattr(origin, "__name__", str(origin))
    if origin is Literal:
        words = "one of " + ", ".join(repr(choice) for choice in arguments)
    elif origin in _COLLECTIONS:
        words = f"a list (each {_describe(arguments[0])})" if arguments else "a list"
    elif origin is type:
        words = " or ".join(f"a subclass of {base.__name__}" for base in arguments) or "a class"
    elif origin is Callable:
        words = "a function"
    elif _names_an_object(kind):
        words = f"an instance of {name}"
    else:
        words = _WORDS.get(origin, name)
    return words


def _kind_of(value: object) -> str:
    """Name a value's kind, never the value: it may be a secret."""
    names = {str: "this string", bool: "true or false", int: "a number", float: "a fraction"}
    names |= {list: "this list", dict: "a table", types.NoneType: "none"}
    return names.get(type(value), type(value).__name__)
