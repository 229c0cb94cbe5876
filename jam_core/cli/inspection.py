"""Looking into plugins, each loaded by a process of its own.

Whatever a plugin does when it is imported (raise, print, exit, crash, hang), the others are still
described, and so is it. As a program, this module is that process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

from jam_core.cli.docstrings import option_docs_of, summary_of
from jam_core.cli.values import shown
from jam_core.exceptions import JamError
from jam_core.options import describe, options_of
from jam_core.plugins import InstalledPlugin, find_store, find_wrapper, hook_relay
from jam_core.session import (
    OPERATIONS,
    REQUIRED_OPERATIONS,
    BaseSession,
    aliases_of,
    optional_operations_of,
)

Kind = Literal["store", "wrapper"]


class Inspected(NamedTuple):
    """A plugin, and what was found in it.

    Attributes:
        kind: What it is installed as.
        plugin: How its distribution announces it.
        reason: Why it cannot be used; None if it can.
        capabilities: A store's, or the operations that a wrapping plugin wraps.
        summary: The first line of its documentation.
        options: A store's options, as `jam plugins show --json` prints them.
    """

    kind: Kind
    plugin: InstalledPlugin
    reason: str | None
    capabilities: Sequence[str] = ()
    summary: str = ""
    options: Sequence[dict[str, Any]] = ()

    @property
    def document(self) -> dict[str, Any]:
        """What `jam plugins --json` prints of it."""
        return {
            "kind": self.kind,
            "name": self.plugin.name,
            "distribution": self.plugin.distribution,
            "version": self.plugin.version,
            "location": self.plugin.value,
            "healthy": self.reason is None,
            "reason": self.reason,
            "capabilities": list(self.capabilities),
        }


def inspect_plugins(
    plugins: Sequence[tuple[Kind, InstalledPlugin]], time_limit: float
) -> list[Inspected]:
    """Look into plugins, several at a time.

    Args:
        plugins: The plugins, each with its kind.
        time_limit: Seconds that each may take.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda one: _inspect(one[0], one[1], time_limit), plugins))


def _inspect(kind: Kind, plugin: InstalledPlugin, time_limit: float) -> Inspected:
    try:
        ran = subprocess.run(  # noqa: S603
            [sys.executable, "-P", "-m", __name__, kind, plugin.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Inspected(kind, plugin, f"is not loaded after {time_limit:g} seconds.")
    if not ran.stdout:
        reason = f"ends the process that imports it ({_end(ran.returncode)})."
        return Inspected(kind, plugin, reason)
    found: dict[str, Any] = json.loads(ran.stdout)
    if found["reason"] is not None:
        found["reason"] = found["reason"].removeprefix(f"Plugin {plugin} ")
    return Inspected(kind, plugin, **found)


def _end(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _describe_store(name: str) -> dict[str, Any]:
    store = find_store(name)
    assert isinstance(store, type)  # noqa: S101  (by its name, never a ready store)
    # Its methods are checked as `Jam` checks them; no constructor has to run for that.
    hook_relay(store.__new__(store), [])
    docs, aliases = option_docs_of(store), aliases_of(store)
    return {
        "capabilities": sorted(optional_operations_of(store) | store.guarantees),
        "summary": summary_of(store),
        "options": [
            {
                "name": name,
                "type": describe(option.annotation),
                "required": option.required,
                "default": None if option.required else shown(name, option.default),
                "aliases": sorted(alias for alias, of in aliases.items() if of == name),
                "documentation": docs.get(name, ""),
            }
            for name, option in options_of(store).items()
        ],
    }


def _describe_wrapper(name: str) -> dict[str, Any]:
    wrapper = find_wrapper(name)
    # Around some store, to look at it; none of the operations is called.
    operations = dict.fromkeys(REQUIRED_OPERATIONS, lambda self: None)  # noqa: ARG005
    some_store: Any = type("SomeStore", (BaseSession,), operations)
    store = some_store()
    hooks = hook_relay(store, [wrapper])
    return {
        "capabilities": [
            operation
            for operation in OPERATIONS
            if any(one.plugin is not store for one in getattr(hooks, operation).get_hookimpls())
        ],
        "summary": summary_of(wrapper) or summary_of(type(wrapper)),
    }


def _main(kind: str, name: str) -> None:
    # What the plugin prints must not come between: only the answer goes to the parent.
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        found = _describe_store(name) if kind == "store" else _describe_wrapper(name)
        found["reason"] = None
    except JamError as error:
        found = {"reason": error.message}
    except Exception as error:  # of a plugin that is stranger than Jam foresees
        found = {"reason": f"cannot be looked at: {type(error).__name__}: {error}."}
    with answer:
        json.dump(found, answer)
    os._exit(0)  # a thread that the plugin started may never end


if __name__ == "__main__":
    _main(*sys.argv[1:])
