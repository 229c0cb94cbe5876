"""Trying out a store: open it, ask it for an answer, take one session through its life."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from jam_core.cli.exits import ExitCode, exit_code_of
from jam_core.cli.findings import Finding, findings_of_store
from jam_core.exceptions import JamConfigurationError, JamError
from jam_core.jam import Jam

_DATA = {"written by": "jam check"}
_CHANGED = {"written by": "jam check", "changed": True}


class Step(NamedTuple):
    """One thing that was tried.

    Attributes:
        name: What.
        milliseconds: How long it took.
        reason: Why it failed, or None.
    """

    name: str
    milliseconds: float
    reason: str | None = None

    @property
    def document(self) -> dict[str, Any]:
        """What `jam check --json` prints of it."""
        return {
            "name": self.name,
            "ok": self.reason is None,
            "milliseconds": self.milliseconds,
            "reason": self.reason,
        }


class _StepFailed(Exception):
    """The step is noted; the rest makes no sense."""


class Trial:
    """What came of trying out the store of a configuration.

    Args:
        config: The configuration's file, as `Jam` takes it.
        pointer: The table in it.

    Attributes:
        steps: What was tried, until it was done or failed.
        findings: What the store says of itself.
        capabilities: What the store can do; empty if it could not be opened.
        exit_code: How it ended.

    Raises:
        JamConfigurationError: The configuration cannot be used.
    """

    def __init__(self, config: str | None, pointer: str) -> None:
        self.steps: list[Step] = []
        self.findings: list[Finding] = []
        self.capabilities: list[str] = []
        self.exit_code = ExitCode.OK
        with suppress(_StepFailed):
            with self._step("open"):
                jam = Jam(config, pointer)
            try:
                self._try(jam)
            finally:
                with self._step("close"):
                    jam.close()

    def _try(self, jam: Jam) -> None:
        self.capabilities = sorted(jam.store.capabilities)
        if "ping" in self.capabilities:
            with self._step("ping"):
                jam.store.ping()
        session_key = f"jam-check-{secrets.token_hex(16)}"
        try:
            self._make_round_trip(jam, session_key)
        finally:
            with suppress(Exception):  # after a failure, that one is the one to tell
                jam.session_clear(session_key)
        with self._step("diagnose"):
            self.findings = list(findings_of_store(jam.store))

    def _make_round_trip(self, jam: Jam, session_key: str) -> None:
        with self._step("create"):
            session_id = jam.session_create(session_key, _DATA)
        with self._step("get"):
            _expect(jam.session_get(session_id) == _DATA, "get does not return what create stored")
        with self._step("update"):
            jam.session_update(session_id, _CHANGED)
            stored = jam.session_get(session_id)
            _expect(stored == _CHANGED, "get does not return what update stored")
        if "touch" in self.capabilities:
            with self._step("touch"):
                jam.session_touch(session_id)
        if "mutate" in self.capabilities:
            with self._step("mutate"):
                changed = jam.session_mutate(session_id, lambda data: data)
                _expect(changed == _CHANGED, "mutate does not return what update stored")
        with self._step("rework"):
            new_id = jam.session_rework(session_id)
            _expect(jam.session_get(session_id) is None, "the old id is alive after rework")
        with self._step("delete"):
            jam.session_delete(new_id)
            _expect(jam.session_get(new_id) is None, "the session is alive after delete")
        with self._step("clear"):
            session_id = jam.session_create(session_key, _DATA)
            jam.session_clear(session_key)
            _expect(jam.session_get(session_id) is None, "a session is alive after clear")

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Note how a step went; a failed one ends the trial."""
        began = time.perf_counter()
        reason, exit_code = None, ExitCode.OK
        try:
            yield
        except (JamConfigurationError, _StepFailed):
            raise
        except JamError as error:
            reason, exit_code = error.message, exit_code_of(error)
        except Exception as error:  # its text is left out: a driver's may quote a secret
            fault = f"{type(error).__module__}.{type(error).__qualname__}"
            reason = f"The store raised {fault}, no JamError: report it to the store's maintainers."
            exit_code = ExitCode.FAILED
        milliseconds = round((time.perf_counter() - began) * 1000, 2)
        self.steps.append(Step(name, milliseconds, reason))
        if reason is not None:
            self.exit_code = self.exit_code or exit_code
            raise _StepFailed


def _expect(holds: bool, fault: str) -> None:
    if not holds:
        raise JamError(
            f"The store does not keep its promise: {fault}. Look whether something else changes "
            "its sessions; if not, run the store's contract suite, and report the fault."
        )
