"""What a certification says: before it begins, and at the end."""

from collections import Counter
from importlib.metadata import version

import pytest

from jam_core import JamError
from jam_core.hosting import installed_stores
from jam_testing.certification import CERTIFICATION, Certification
from jam_testing.promises import CONTRACT_VERSION, BrokenPromise

_FROM_BEST_TO_WORST = ("passed", "skipped", "failed")


def certify(config: pytest.Config) -> None:
    """Make a run of pytest the certification that its options ask for.

    Raises:
        pytest.UsageError: The configuration cannot be used, or the backend does not answer.
    """
    session_type, file = config.option.jam_store, config.option.jam_config
    try:
        certification = Certification(session_type, file, config.option.jam_pointer or "jam")
    except JamError as error:
        raise pytest.UsageError(error.message) from error
    except Exception as error:  # its message may contain a password
        raise pytest.UsageError(
            f"the store {session_type!r} raised {type(error).__name__} when it was first used: "
            "a backend that does not answer is JamStoreUnavailable"
        ) from error
    config.stash[CERTIFICATION] = certification
    config.pluginmanager.register(Certificate(certification), "jam-certificate")
    # Values in a traceback may be secrets from the configuration.
    config.option.showlocals = config.option.fulltrace = False
    if config.option.tbstyle in ("auto", "long"):
        config.option.tbstyle = "short"


class Certificate:
    """Listens to a run of pytest and reports on it.

    Args:
        certification: The run.
    """

    def __init__(self, certification: Certification) -> None:
        self._certification = certification
        self._outcomes: dict[str, pytest.TestReport] = {}
        self._clauses = 0

    def pytest_report_header(self) -> str:
        """Say what is going to happen, and where."""
        return (
            f"jam: certifying {self._certification.session_type!r} as "
            f"{self._certification.store.source} says; "
            "the session keys of this run begin with 'jam-certification-'"
        )

    def pytest_itemcollected(self) -> None:
        """Count the clauses, whether they will run or not."""
        self._clauses += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a clause: the worst of its set-up, call and teardown."""
        former = self._outcomes.get(report.nodeid)
        if former is None or _badness(report) > _badness(former):
            self._outcomes[report.nodeid] = report

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        """Write the report."""
        terminalreporter.section(f"certification of {self._certification.session_type!r}")
        for title, text in self._lines():
            terminalreporter.write_line(f"{title:<14} {text}".rstrip())

    def _lines(self) -> list[tuple[str, str]]:
        certification, store = self._certification, self._certification.store
        count = Counter(report.outcome for report in self._outcomes.values())
        not_run = self._clauses - len(self._outcomes)
        lines = [
            ("store", f"{store.kind.__module__}:{store.kind.__qualname__}"),
            ("distribution", _distribution_of(certification.session_type)),
            ("jam-core", f"{version('jam-core')}, contract {CONTRACT_VERSION}"),
            ("configuration", store.source),
            ("capabilities", ", ".join(sorted(store.capabilities)) or "none"),
            (
                "clauses",
                f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"
                + (f", {not_run} not run" if not_run > 0 else ""),
            ),
        ]
        lines += [("  skipped", text) for text in self._skipped()]
        lines += [("  failed", text) for text in self._failed()]
        if certification.left_behind:
            lines.append(
                ("left behind", f"sessions of {certification.left_behind} keys: clear failed")
            )
        return [*lines, ("verdict", _verdict(count["passed"], count["failed"], not_run))]

    def _skipped(self) -> list[str]:
        """Return each reason why clauses were skipped, and how many."""
        reasons = Counter(
            report.longrepr[2].removeprefix("Skipped: ")
            for report in self._outcomes.values()
            if report.skipped and isinstance(report.longrepr, tuple)
        )
        return [f"{number} x {reason}" for reason, number in reasons.items()]

    def _failed(self) -> list[str]:
        """Return each failed clause, with the first line of what it says."""
        return [
            f"{report.nodeid.rpartition('::')[2]}: {_first_words(report)}"
            for report in self._outcomes.values()
            if report.failed
        ]


def _badness(report: pytest.TestReport) -> int:
    return _FROM_BEST_TO_WORST.index(report.outcome)


def _first_words(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    words = str(crash.message if crash else report.longrepr).partition("\n")[0]
    return words.removeprefix(f"{BrokenPromise.__module__}.{BrokenPromise.__qualname__}: ")


def _distribution_of(session_type: str) -> str:
    for plugin in installed_stores():
        if plugin.name == session_type:
            return f"{plugin.distribution} {plugin.version}"
    return "none: chosen by its import path"


def _verdict(passed: int, failed: int, not_run: int) -> str:
    if failed:
        return f"NOT CERTIFIED: {failed} failed"
    if not_run or not passed:
        return "none: only a run of the whole suite, in one process, certifies a store"
    return "certified: every clause that applies holds"
