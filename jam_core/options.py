"""Binding configuration keys to a store's constructor: its annotations are the schema."""

import inspect
import os
import types
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from jam_core.exceptions import JamConfigurationError, JamPluginLoadError
from jam_core.session import BaseSession, aliases_of

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_NONE = ("none", "null")
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
    try:
        return get_type_hints(constructor)
    except NameError:  # a name imported for type checkers only: its options go unchecked
        return {}


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
    for key, value in given.items():
        name = aliases.get(key, key)
        if name not in options:
            problems.append(problem(key, _unknown(key, [*options, *aliases], store)))
        elif key != name and name in given:
            problems.append(problem(key, f"is another name of {name}: give one, not both."))
        else:
            try:
                arguments[name] = _convert(value, options[name].annotation)
            except _Mismatch as mismatch:
                problems.append(problem(key, str(mismatch)))
    missing = [
        problem(name, f"is missing: {store.__name__} needs it ({_describe(option.annotation)}).")
        for name, option in options.items()
        if option.required and not any(aliases.get(key, key) == name for key in given)
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
            names = [known for known in vars(found) if not known.startswith("_")]
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
    matches = get_close_matches(word, known, n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


class _Mismatch(Exception):
    """A value is not of the option's type; the text ends a sentence that names the key."""


def _unknown(key: str, known: Sequence[str], store: type[BaseSession]) -> str:
    match = close_match(key, known)
    return (
        f"is no option of {store.__name__}."
        + (match or f" Its options: {', '.join(sorted(known))}.")
    )


def _convert(value: Any, annotation: Any) -> Any:
    """Return `value` as one of the annotated types, or raise _Mismatch."""
    alternatives = _alternatives(annotation)
    if Any in alternatives or any(_fits(value, kind) for kind in alternatives):
        return value
    for kind in alternatives:
        try:
            return _parse(value, kind)
        except (ValueError, TypeError):
            continue
        except JamPluginLoadError as error:
            raise _Mismatch(f"cannot be used: {error.message}") from error
    raise _Mismatch(f"must be {_describe(annotation)}, not {_kind_of(value)}.")


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        return get_args(annotation)
    return (annotation,)


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is of a type already."""
    origin = get_origin(kind) or kind
    if kind is type(None) or kind is None:
        return value is None
    if origin is Literal:
        return value in get_args(kind)
    if origin is type:
        (base,) = get_args(kind) or (object,)
        return isinstance(value, type) and issubclass(value, base)
    if origin is Callable:
        return callable(value)
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    if origin in (list, tuple, Sequence) or (origin is dict and get_args(kind)):
        return isinstance(value, origin) and not isinstance(value, str | bytes) and _items_fit(value, kind)
    return isinstance(origin, type) and isinstance(value, origin)


def _items_fit(value: Any, kind: Any) -> bool:
    item_kinds = [item for item in get_args(kind) if item is not Ellipsis]
    if not item_kinds or isinstance(value, dict):
        return True
    return all(any(_fits(item, one) for one in _alternatives(item_kinds[0])) for item in value)


def _parse(value: Any, kind: Any) -> Any:
    """Make a value of a type from a text, as the environment and files give it."""
    if not isinstance(value, str):
        if get_origin(kind) in (list, Sequence) and isinstance(value, list | tuple):
            return [_convert_item(item, kind) for item in value]
        raise TypeError
    text = value.strip()
    if kind in (type(None), None) and text.lower() in _NONE:
        return None
    if kind is bool and text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    if kind in (int, float):
        return kind(text)
    if kind is bytes:
        return value.encode()
    if kind in (Path, os.PathLike):
        return Path(value)
    if get_origin(kind) in (list, Sequence):
        return [_convert_item(item.strip(), kind) for item in text.split(",") if item.strip()]
    if _names_an_object(kind):
        found = import_object(text)
        if _fits(found, kind):
            return found
    raise ValueError


def _convert_item(item: Any, kind: Any) -> Any:
    (item_kind, *_) = get_args(kind) or (Any,)
    try:
        return _convert(item, item_kind)
    except _Mismatch as mismatch:
        raise ValueError from mismatch


def _names_an_object(kind: Any) -> bool:
    """Tell whether a text can stand for a value of this type only as an import path."""
    plain = (bool, int, float, str, bytes, list, dict, type(None), Path)
    return get_origin(kind) in (type, Callable) or (isinstance(kind, type) and kind not in plain)


def _describe(annotation: Any) -> str:
    """Say in words what an option takes."""
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
        bytes: "a text",
        type(None): "none",
        Path: "a path",
        dict: "a table",
    }
    phrases: list[str] = []
    for kind in _alternatives(annotation):
        origin = get_origin(kind) or kind
        if origin is Literal:
            phrase = "one of " + ", ".join(repr(choice) for choice in get_args(kind))
        elif origin in (list, tuple, Sequence):
            phrase = "a list"
        elif _names_an_object(kind):
            phrase = 'an object, or its path as "package.module:name"'
        else:
            phrase = words.get(origin, getattr(origin, "__name__", str(origin)))
        if phrase not in phrases:
            phrases.append(phrase)
    return " or ".join(phrases)


def _kind_of(value: object) -> str:
    """Name a value's kind, never the value: it may be a secret."""
    names = {str: "this text", bool: "true or false", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "a table", type(None): "none"}
    return names.get(type(value), type(value).__name__)
