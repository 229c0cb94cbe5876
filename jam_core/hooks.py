"""The operations of a store as `Jam` calls them, and the wrappers around them.

An operation that nobody wraps is the store's own method. A wrapped one goes through pluggy, with
the store innermost.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pluggy

from jam_core.exceptions import JamPluginLoadError, JamSessionUnsupported
from jam_core.problems import close_match
from jam_core.session import ASYNCIO, OPERATIONS, PROJECT, BaseSession, hookspec
from jam_core.waiting import awaited

if TYPE_CHECKING:
    from pluggy import HookimplOpts

_Call = Callable[..., Any]
_WHERE = "The operations and their parameters are the methods of jam_core.BaseSession."
_MARK = "mark its methods with @jam_core.hookimpl(wrapper=True)"
_IMPLEMENTATION: "HookimplOpts" = {
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "tryfirst": False,
    "trylast": False,
    "specname": None,
}


def bound_operations(store: BaseSession, wrappers: Sequence[object]) -> SimpleNamespace:
    """Return what to call for each operation of a store; arguments are given by name.

    Args:
        store: The store.
        wrappers: The wrappers around it, the outermost first.

    Raises:
        JamPluginLoadError: A wrapper does not fit the operations.
    """
    operations = {name: not_blocking(_fitting(store, name), store) for name in OPERATIONS}
    wrapped = {name for wrapper in wrappers for name in wrapped_operations(wrapper)}
    for number, wrapper in enumerate(wrappers):
        if any(wrapper is other for other in wrappers[:number]):
            raise JamPluginLoadError(f"{name_of(wrapper)} is given twice.")
    if wrapped:
        operations |= _relayed({name: operations[name] for name in wrapped}, wrappers)
    return SimpleNamespace(**operations)


def not_blocking(call: _Call, store: BaseSession | type[BaseSession]) -> _Call:
    """Return a call of a store's operation that does not block an event loop."""
    if not awaited() or ASYNCIO in store.guarantees:
        return call
    from jam_core.threads import in_thread  # asyncio takes as long to import as all of Jam

    return in_thread(call)


def check_store(store: type[BaseSession], what: str) -> None:
    """Make sure that a store's methods can be called as operations.

    Args:
        store: The class.
        what: What to call it in errors.

    Raises:
        JamPluginLoadError: A method is `async def`, or has other parameters.
    """
    for operation in OPERATIONS:
        method = getattr(store, operation)
        if _is_async(method):
            raise JamPluginLoadError(
                f"{what} has `async def {operation}`: a store has plain methods. Nobody would "
                "await it, and what it returns would be mistaken for a session."
            )
        signature = inspect.signature(method)
        if not _binds(signature, None, **_arguments(operation, required=True)):
            raise JamPluginLoadError(
                f"{what} cannot be called: {operation}({', '.join(signature.parameters)}) must "
                f"take {', '.join(_parameters(operation)) or 'nothing'}, and by name. {_WHERE}"
            )


def wrapped_operations(wrapper: object) -> list[str]:
    """Return the operations that a wrapper, or each instance of its class, wraps.

    Raises:
        JamPluginLoadError: It does not fit the operations.
    """
    name = name_of(wrapper)
    if isinstance(wrapper, BaseSession):
        raise JamPluginLoadError(f"{name} is a store, not a wrapper: it belongs in session_type.")
    manager = pluggy.PluginManager(PROJECT)
    operations = []
    marked = False
    for attribute in dir(wrapper):
        options = manager.parse_hookimpl_opts(wrapper, attribute)
        if options is None:
            continue
        marked = True
        operation = options.get("specname") or attribute
        if operation in OPERATIONS:
            _check_wrapper(wrapper, attribute, options, operation)
            operations.append(operation)
        elif not options.get("optionalhook"):
            raise JamPluginLoadError(
                f"{name} wraps {operation!r}, which is not an operation."
                f"{close_match(operation, OPERATIONS)} {_WHERE}"
            )
    if not marked:
        raise JamPluginLoadError(f"{name} wraps no operation: {_MARK}.")
    return operations


def name_of(plugin: object) -> str:
    """Name a plugin for errors; never by its repr, which may hold anything."""
    if isinstance(plugin, ModuleType):
        return f"Plugin {plugin.__name__}"
    kind = plugin if isinstance(plugin, type) else type(plugin)
    return f"Plugin {kind.__module__}.{kind.__qualname__}"


@cache
def _parameters(operation: str) -> dict[str, inspect.Parameter]:
    """Return what an operation is called with: the parameters of BaseSession's method."""
    signature = inspect.signature(getattr(BaseSession, operation))
    return {name: one for name, one in signature.parameters.items() if name != "self"}


def _arguments(operation: str, *, required: bool = False) -> dict[str, Any]:
    """Return arguments that an operation can be called with: all, or those without a default."""
    return {
        name: one.default
        for name, one in _parameters(operation).items()
        if not required or one.default is one.empty
    }


def _binds(signature: inspect.Signature, *values: object, **named: object) -> bool:
    try:
        signature.bind(*values, **named)
    except TypeError:
        return False
    return True


def _is_async(method: object) -> bool:
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


def _fitting(store: BaseSession, operation: str) -> _Call:
    """Return a store's method; if it is older than a parameter, it gets only what it takes."""
    method: _Call = getattr(store, operation)
    signature = inspect.signature(method)
    if _binds(signature, **_arguments(operation)):
        return method
    newer = {
        name: value
        for name, value in _arguments(operation).items()
        if name not in signature.parameters
    }

    def call(**arguments: Any) -> Any:
        for name, default in newer.items():
            if arguments.pop(name, default) is not default:
                raise JamSessionUnsupported(
                    f"{type(store).__name__} does not support {name} in {operation}: it is older "
                    "than this jam-core. Update it."
                )
        return method(**arguments)

    return call


def _relayed(operations: dict[str, _Call], wrappers: Sequence[object]) -> dict[str, _Call]:
    """Return operations as they are called through the wrappers around them."""
    manager = _PluginManager(PROJECT)
    specified: Any = _Functions({name: _specified(manager, name) for name in OPERATIONS})
    manager.add_hookspecs(specified)
    innermost = {
        name: call if _is_plain(name, call) else _by_position(name, call)
        for name, call in operations.items()
    }
    manager.register(_Innermost(innermost))
    for wrapper in reversed(wrappers):  # the last to be registered is the first to be called
        manager.register(wrapper, name=f"{name_of(wrapper)} {id(wrapper)}")
    return {name: _with_defaults(name, getattr(manager.hook, name)) for name in operations}


def _specified(manager: pluggy.PluginManager, operation: str) -> _Call:
    """Return BaseSession's hookspec in a form that pluggy can use: every parameter positional."""
    marks: Any = manager.parse_hookspec_opts(BaseSession, operation)
    specification: _Call = hookspec(**marks)(_by_position(operation))
    return specification


def _is_plain(operation: str, call: _Call) -> bool:
    """Tell whether pluggy can call a method as it is: with each parameter, by position."""
    taken = inspect.signature(call).parameters
    return (
        inspect.ismethod(call)
        and list(taken) == list(_parameters(operation))
        and all(
            one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
            for one in taken.values()
        )
    )


def _by_position(operation: str, call: _Call = dict) -> _Call:
    """Return `call` as a function with the operation's parameters, all positional.

    pluggy looks for them in a function's code, and sees only those.
    """
    names = list(_parameters(operation))
    passed_on = ", ".join(f"{name}={name}" for name in names)
    function: _Call = eval(f"lambda {', '.join(names)}: call({passed_on})", {"call": call})  # noqa: S307
    return function


def _with_defaults(operation: str, hook: _Call) -> _Call:
    """Return a hook that can be called without parameters that have a default, unlike pluggy's."""
    defaults = {
        name: one.default
        for name, one in _parameters(operation).items()
        if one.default is not one.empty
    }
    return (lambda **arguments: hook(**{**defaults, **arguments})) if defaults else hook


class _Functions:
    """Functions with these names, as pluggy takes them from a plugin."""

    def __init__(self, functions: dict[str, _Call]) -> None:
        vars(self).update(functions)


class _Innermost(_Functions):
    """The operations of the store, which the wrappers are around."""


class _PluginManager(pluggy.PluginManager):
    """Takes the innermost functions as they are, without a mark."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> "HookimplOpts | None":
        if isinstance(plugin, _Innermost):
            return {**_IMPLEMENTATION} if name in OPERATIONS else None
        return super().parse_hookimpl_opts(plugin, name)


def _check_wrapper(
    wrapper: object, attribute: str, options: "HookimplOpts", operation: str
) -> None:
    name, method = name_of(wrapper), getattr(wrapper, attribute)
    if not (options.get("wrapper") or options.get("hookwrapper")):
        raise JamPluginLoadError(
            f"{name} implements {operation} as a store would, but only the store may do that. "
            "Mark it "
            "with @jam_core.hookimpl(wrapper=True)."
        )
    takes = list(inspect.signature(method).parameters.values())
    if isinstance(wrapper, type):
        takes = takes[1:]  # self
    given = _parameters(operation)
    unknown = [
        one.name
        for one in takes
        if one.default is one.empty
        and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        and (one.name not in given or one.kind is one.KEYWORD_ONLY)
    ]
    fault = ""
    if _is_async(method):
        fault = "it is `async def`; a wrapper is a plain generator."
    elif not inspect.isgeneratorfunction(inspect.unwrap(method)):
        fault = "it is not a generator; the operation runs where it says `result = yield`."
    elif unknown:
        fault = (
            f"{', '.join(map(repr, unknown))} is not one of the positional parameters that it can "
            f"have: {', '.join(given) or 'none'}. {_WHERE}"
        )
    if fault:
        raise JamPluginLoadError(
            f"{name} cannot wrap {operation}({', '.join(one.name for one in takes)}): {fault}"
        )
