"""Looking into plugins, each loaded in a process of its own.

Whatever a plugin does when it is imported (raise, print, exit, crash, hang), it and the others are
still described. Run as a program, this module is that process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

from jam_cli.docstrings import option_docs_of, summary_of
from jam_cli.values import shown
from jam_core import JamError
from jam_core.hosting import (
    LIFETIMES,
    LOGIN,
    OPERATIONS,
    OPTIONAL_OPERATIONS,
    RECORDS,
    SEEN,
    InstalledPlugin,
    find_store,
    find_wrapper,
    optional_operations_of,
    options_of,
    wrapped_operations,
)

Kind = Literal["store", "wrapper"]
_POWERS = (RECORDS, LIFETIMES, LOGIN, SEEN)


class Inspected(NamedTuple):
    """A plugin, and what was found in it.

    Attributes:
        kind: What it is installed as.
        plugin: How its distribution announces it.
        reason: Why it cannot be used; None if it can.
        capabilities: A store's, or the operations that a wrapper wraps.
        summary: The first line of its documentation.
        options: Its options, as `jam plugins show --json` prints them.
    """

    kind: Kind
    plugin: InstalledPlugin
    reason: str | None
    capabilities: Sequence[str] = ()
    summary: str = ""
    options: Sequence[dict[str, Any]] = ()

    @property
    def document(self) -> dict[str, Any]:
        """What `jam plugins --json` prints for it."""
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

    @property
    def abilities(self) -> str:
        """What it can do, in words."""
        if self.kind == "store":
            return abilities_in_words(self.capabilities)
        lacking = [name for name in OPERATIONS if name not in self.capabilities]
        if len(lacking) < len(self.capabilities):
            return f"every operation{_but(lacking)}"
        return ", ".join(self.capabilities)


def abilities_in_words(capabilities: Collection[str]) -> str:
    """Say what a store can do: every operation but the few that it lacks."""
    lacking = [name for name in (*OPTIONAL_OPERATIONS, *_POWERS) if name not in capabilities]
    guarantees = sorted(set(capabilities) - {*OPTIONAL_OPERATIONS, *_POWERS})
    return ", ".join([f"every operation{_but(lacking)}", *guarantees])


def _but(lacking: Sequence[str]) -> str:
    return f" but {', '.join(lacking)}" if lacking else ""


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
            # What is found here must be found there: in a zipapp, everything is in the archive.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Inspected(kind, plugin, f"did not load within {time_limit:g} seconds.")
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
    return {
        "capabilities": sorted(optional_operations_of(store) | store.guarantees),
        "summary": summary_of(store),
        "options": _describe_options(store),
    }


def _describe_wrapper(name: str) -> dict[str, Any]:
    wrapper = find_wrapper(name)
    kind = wrapper if isinstance(wrapper, type) else type(wrapper)
    return {
        "capabilities": wrapped_operations(wrapper),
        "summary": summary_of(wrapper) or summary_of(kind),
        "options": _describe_options(wrapper) if isinstance(wrapper, type) else [],
    }


def _describe_options(plugin: type) -> list[dict[str, Any]]:
    docs = option_docs_of(plugin)
    return [
        {
            "name": name,
            "type": option.takes,
            "required": option.required,
            "default": None if option.required else shown(name, option.default),
            "aliases": list(option.aliases),
            "documentation": docs.get(name, ""),
        }
        for name, option in options_of(plugin).items()
    ]


def _main(kind: str, name: str) -> None:
    # What the plugin prints must not get in between: only the answer goes to the parent.
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        found = _describe_store(name) if kind == "store" else _describe_wrapper(name)
        found["reason"] = None
    except JamError as error:
        found = {"reason": error.message}
    except Exception as error:  # from a plugin stranger than Jam foresees
        found = {"reason": f"cannot be inspected: {type(error).__name__}: {error}."}
    with answer:
        json.dump(found, answer)
    os._exit(0)  # a thread that the plugin started may never end


if __name__ == "__main__":
    _main(*sys.argv[1:])
