"""Binding configuration keys to a store's constructor: its annotations are the schema."""

import inspect
import os
import re
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from jam_core.exceptions import JamConfigurationError, JamPluginLoadError
from jam_core.session import BaseSession, aliases_of

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NONE = ("none", "null")
# Anything else is not imported, and not repeated in a message: it may be a secret.
_IMPORT_PATH = re.compile(r"(?=.*[.:])[\w.]*(:[\w.]*)?")
_MISSING = inspect.Parameter.empty


class Option(NamedTuple):
    """One option of a store.

    Attributes:
        name: Its name.
        annotation: The types that it takes.
        default: Its default, or `inspect.Parameter.empty` if it must be given.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is _MISSING


def options_of(store: type[BaseSession]) -> dict[str, Option]:
    """Return the options of a store's class, by name.

    They are the parameters of its constructor; where that takes `**options`, those of the next
    constructor in the inheritance follow, as `super().__init__(**options)` passes them on.
    """
    options: dict[str, Option] = {}
    for parent in store.__mro__:
        constructor = vars(parent).get("__init__")
        if constructor is None:
            continue
        passes_on = False
        hints = _type_hints(constructor)
        for parameter in list(inspect.signature(constructor).parameters.values())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                passes_on = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                annotation = hints.get(parameter.name, Any)
                option = Option(parameter.name, annotation, parameter.default)
                options.setdefault(parameter.name, option)
        if not passes_on:
            break
    return options


def _type_hints(constructor: Callable[..., None]) -> dict[str, Any]:
    """Return a constructor's annotations; a name for type checkers only leaves its own out."""
    function = inspect.unwrap(constructor)
    hints: dict[str, Any] = {}
    for name, annotation in inspect.get_annotations(function).items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(NameError):
            hints |= get_type_hints(one, function.__globals__)
    return hints


def bind_options(
    store: type[BaseSession],
    given: Mapping[str, Any],
    problem: Callable[[str, str], JamConfigurationError],
) -> tuple[dict[str, Any], list[JamConfigurationError]]:
    """Turn configuration keys into keyword arguments for a store's class.

    Args:
        store: The class.
        given: The keys and their values. A text may stand for a number, a bool ("yes"), None
            ("none"), a path, a list (commas between), or an object ("package.module:name").
        problem: Makes the error for a key and what is wrong with it.

    Returns:
        The arguments, and every problem found.
    """
    options = options_of(store)
    aliases = aliases_of(store)
    arguments: dict[str, Any] = {}
    problems: list[JamConfigurationError] = []
    given_as: dict[str, str] = {}
    for key, value in ((str(key), value) for key, value in given.items()):
        name = aliases.get(key, key)
        if name not in options:
            problems.append(problem(key, _unknown(key, [*options, *aliases], store)))
        elif name in given_as:
            text = f"is another name of {given_as[name]}: give one of them, not both."
            problems.append(problem(key, text))
        else:
            given_as[name] = key
            try:
                arguments[name] = _convert(value, options[name].annotation)
            except _Mismatch as mismatch:
                problems.append(problem(key, str(mismatch)))
                problems[-1].__cause__ = mismatch.__cause__
    missing = [
        problem(name, f"is missing: {store.__name__} needs it, {describe(option.annotation)}.")
        for name, option in options.items()
        if option.required and name not in given_as
    ]
    return arguments, problems + missing


def import_object(path: str) -> Any:
    """Return the object that a text names: "package.module:name" or "package.module.name".

    Raises:
        JamPluginLoadError: There is no such object, or its module fails to import.
    """
    module_name, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not module_name or not name:
        raise JamPluginLoadError(f"{path!r} names no object: write package.module:name.")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise JamPluginLoadError(
                f"{path!r}: there is no module {error.name!r}. "
                "Check the spelling, and that it is installed or on PYTHONPATH."
            ) from error
        raise import_failure(repr(path), error) from error
    except (Exception, SystemExit) as error:
        raise import_failure(repr(path), error) from error
    for attribute in name.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            names = [known for known in dir(found) if not known.startswith("_")]
            raise JamPluginLoadError(
                f"{path!r}: {getattr(found, '__name__', module_name)} has no {attribute!r}."
                f"{close_match(attribute, names)}"
            ) from error
    return found


def import_failure(what: str, error: BaseException) -> JamPluginLoadError:
    """Return the error for a plugin whose module raised `error` on import."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        cause = f"it needs the package {error.name!r}, which is not installed"
    else:
        cause = f"{type(error).__name__}: {error}"
    return JamPluginLoadError(f"{what} fails to import: {cause}.")


def close_match(word: str, known: Sequence[str]) -> str:
    """Return " Did you mean ...?" for the nearest of the known words, or nothing."""
    from difflib import get_close_matches

    matches = get_close_matches(word, known, n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


class _Mismatch(Exception):
    """A value is not of the option's type; the text ends a sentence that names the key."""


def _unknown(key: str, known: Sequence[str], store: type[BaseSession]) -> str:
    match = close_match(key, known)
    return f"is no option of {store.__name__}." + (
        match or f" Its options: {', '.join(sorted(known))}."
    )


def _convert(value: Any, annotation: Any) -> Any:
    """Return `value` as one of the annotated types, or raise _Mismatch."""
    alternatives = _alternatives(annotation)
    if any(_fits(value, kind) for kind in alternatives):
        return value
    mismatch = _Mismatch(f"must be {describe(annotation)}, not {_kind_of(value)}.")
    for kind in alternatives:
        try:
            return _parse(value, kind)
        except (ValueError, TypeError):
            continue
        except JamPluginLoadError as error:
            mismatch = _Mismatch(f"cannot be used: {error.message}")
            mismatch.__cause__ = error
    raise mismatch


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of a type already."""
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
    except TypeError:  # only type checkers can check against it, as with a Protocol
        return not isinstance(value, str)


def _parse(value: Any, kind: Any) -> Any:
    """Make a value of a type from a text, as the environment and files give it."""
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


def _read_none(text: str) -> None:
    if text.strip().lower() not in _NONE:
        raise ValueError


_READERS: dict[Any, Callable[[str], Any]] = {
    bool: _read_bool,
    int: int,
    float: float,
    bytes: str.encode,
    types.NoneType: _read_none,
    Path: Path,
    os.PathLike: Path,
}
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
    str: "a text",
    bytes: "a text",
    types.NoneType: "none",
    Path: "a path",
    os.PathLike: "a path",
    dict: "a table",
    Any: "any value",
}


def _names_an_object(kind: Any) -> bool:
    """Tell whether a text can stand for a value of this type only as an import path."""
    known = kind in _WORDS or kind in _COLLECTIONS
    return get_origin(kind) in (type, Callable) or (isinstance(kind, type) and not known)


def describe(annotation: Any) -> str:
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
        words = f"a list (each {describe(arguments[0])})" if arguments else "a list"
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
    names = {str: "this text", bool: "true or false", int: "a number", float: "a fraction"}
    names |= {list: "this list", dict: "a table", types.NoneType: "none"}
    return names.get(type(value), type(value).__name__)
