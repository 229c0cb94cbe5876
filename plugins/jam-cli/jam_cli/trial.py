"""Trying out a store: open it, check that it answers, take one session through its life."""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from jam_cli.exits import ExitCode, exit_code_of
from jam_cli.findings import Finding, findings_of_store
from jam_cli.values import shown
from jam_core import Jam, JamConfigurationError, JamError, JamStoreMissing, JamStoreUnavailable
from jam_core.hosting import configured_store, options_that_create

_LONGEST_CAUSE = 300  # characters
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
        """What `jam check --json` prints for it."""
        return {
            "name": self.name,
            "ok": self.reason is None,
            "milliseconds": self.milliseconds,
            "reason": self.reason,
        }


class _StepFailed(Exception):
    """The step has been recorded; going on makes no sense."""


class Trial:
    """The result of trying out the store of a configuration.

    Args:
        config: The configuration's file, as `Jam` takes it.
        pointer: The table in it.
        create: Whether to create what the store lacks, as the application would.
        read_only: Whether to store no session.

    Attributes:
        configured: What the configuration says.
        in_force: The values in force of options left at None, by their names.
        missing: What the application would create when it starts; then nothing more was tried.
        steps: What was tried, up to the first failure.
        findings: What the store says about itself.
        capabilities: What the store can do; empty if it could not be opened.
        exit_code: How it ended.

    Raises:
        JamConfigurationError: The configuration cannot be used.
    """

    def __init__(
        self, config: str | None, pointer: str, *, create: bool = False, read_only: bool = False
    ) -> None:
        self.configured = configured_store(config, pointer)
        self.in_force: Mapping[str, Any] = {}
        self.missing: str | None = None
        self._read_only = read_only
        self.steps: list[Step] = []
        self.findings: list[Finding] = []
        self.capabilities: list[str] = []
        self.exit_code = ExitCode.OK
        with suppress(_StepFailed):
            with self._step("open"):
                jam = self._open(create=create)
            try:
                self._try(jam)
            finally:
                with self._step("close"):
                    jam.close()

    def _open(self, *, create: bool) -> Jam:
        """Open the store; `create` says whether it may create what it lacks."""
        assert isinstance(self.configured.store, type)  # noqa: S101  (a file holds no ready store)
        creating = options_that_create(self.configured.store)
        options = {**self.configured.options, **dict.fromkeys(creating, create)}
        try:
            return Jam(self.configured._replace(options=options))
        except JamStoreMissing as error:
            is_to_create = [self.configured.options.get(name, True) for name in creating]
            if not is_to_create or not all(is_to_create):
                raise  # the application will get the same error
            self.missing = error.message
            raise _StepFailed from None

    def _try(self, jam: Jam) -> None:
        self.capabilities = sorted(jam.store.capabilities)
        limits = {"ttl": jam.store.ttl, "max_age": jam.store.max_age}
        self.in_force = {**limits, **jam.store.in_force}
        if "ping" in self.capabilities:
            with self._step("ping"):
                jam.store.ping()
        if not self._read_only:
            session_key = f"jam-check-{secrets.token_hex(16)}"
            try:
                self._make_round_trip(jam, session_key)
            finally:
                with suppress(Exception):  # after a failure, that is the one to report
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
        """Record how a step went; a failure ends the trial."""
        began = time.perf_counter()
        reason, exit_code = None, ExitCode.OK
        try:
            yield
        except (JamConfigurationError, _StepFailed):
            raise
        except JamError as error:
            reason, exit_code = error.message + _cause_of(error), exit_code_of(error)
        except Exception as error:  # without its message: a driver's may quote a secret
            fault = f"{type(error).__module__}.{type(error).__qualname__}"
            reason = (
                f"The store raised {fault}, not a JamError: report it to the store's maintainers."
            )
            exit_code = ExitCode.FAILED
        milliseconds = round((time.perf_counter() - began) * 1000, 2)
        self.steps.append(Step(name, milliseconds, reason))
        if reason is not None:
            self.exit_code = self.exit_code or exit_code
            raise _StepFailed


def _cause_of(error: JamError) -> str:
    """Return the sentence with the innermost cause of an outage, in the driver's words."""
    if not isinstance(error, JamStoreUnavailable):
        return ""
    cause: BaseException = error
    while inner := cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__):
        cause = inner
        if isinstance(cause, OSError):  # from the system itself: its context adds nothing
            break
    # The rest of a longer message is a statement, or the data to be stored.
    words, *_ = str(cause).strip().splitlines() or [""]
    if cause is error or words in error.message:
        return ""
    kind = f"{type(cause).__module__}.{type(cause).__qualname__}".removeprefix("builtins.")
    return f" Cause: {kind}: {shown('cause', words[:_LONGEST_CAUSE])}"


def _expect(holds: bool, fault: str) -> None:
    if not holds:
        raise JamError(
            f"The store does not keep its promise: {fault}. Check whether something else changes "
            "its sessions; if not, run the contract suite on the store, and report the fault."
        )
