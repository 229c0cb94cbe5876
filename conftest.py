"""What is run on which backends, and the examples in the documentation.

A test that runs on several backends, a row for each, has the row's name in a mark that the
`conftest.py` of its plugin gives it. Of those rows only the ones that every newcomer's machine has
are run, one of each kind; `-m exhaustive` runs the others, `--backend=NAME` those that are named.
What is `lengthy` runs for hours, and only where `-m` names it.

Of the documentation, a block whose first line is a comment with a file's name is written to that
file; any other Python block is executed, and in `docs` the commands of a console block are. The
blocks of a page follow each other in a directory of their own. The start page and the tutorial have
tests of their own, which follow them in an empty environment; so have the pages of the frameworks,
where an `sh` block installs something or starts a server.
"""

import gc
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

pytest_plugins = ["tests.servers"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer `--backend`."""
    parser.addoption(
        "--backend",
        action="append",
        default=[],
        metavar="NAME",
        help="of the tests that run on several backends, run the rows of this one; repeatable",
    )


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores: a server's clock is often waited for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (cores or 1) + 1


# Few tests that take long, one after the other. The longest first: a worker that began with one of
# these files when the others have finished would keep everybody waiting. In turns those that wait
# for a clock and those that need the processor.
_LONG = [
    *("packaging", "expiry", "contract", "contract_awaited", "interrupts", "outages", "documents"),
    *("tutorial", "certification", "sentinel", "logins", "aio", "crashes", "migrations", "races"),
    *("linearizability", "operators_night", "notes_app", "strangers", "scaffold", "start_page"),
    *("floor", "under_servers"),
]


_EXAMPLE = Path(__file__).parent / "examples" / "jam-lmdb" / "tests" / "test_contract.py"
# Pages whose examples run certifications, servers or many commands.
_LONG_PAGES = {
    *("certify-a-store.md", "cli.md", "contract.md", "django.md", "document-stores.md"),
    "writing-a-store.md",
}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give the contract of the example a row, as the plugins' conftest.py do; leave pages to CI."""
    if item.path == _EXAMPLE:
        item.add_marker(pytest.mark.backend("lmdb", by_default=False))
    if item.path.name in _LONG_PAGES:
        item.add_marker(pytest.mark.exhaustive)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Collector, name: str, obj: object
) -> list[pytest.Item] | None:
    """Do not generate thousands of tests only to deselect them."""
    if collector.config.option.markexpr != "not exhaustive" or name[:4].lower() != "test":
        return None
    marks = [*collector.iter_markers(), *getattr(obj, "pytestmark", ())]
    return [] if any(mark.name == "exhaustive" for mark in marks) else None


def pytest_collection() -> None:
    """Collect no garbage meanwhile: there is none."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage again, without looking at the tests themselves each time."""
    gc.enable()
    if "hypothesis" in sys.modules:  # while it is imported, it has to see who refers to what
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Keep what a file leaves behind out of the garbage collections of those that follow."""
    if (nextitem is None or nextitem.path != item.path) and "hypothesis" in sys.modules:
        gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist begin with the first files, not with those that have the most tests."""
    config.option.loadscopereorder = False


def _begin_with_what_takes_long(items: list[pytest.Item]) -> None:
    tests_of = Counter(item.path for item in items)
    place_of = {f"test_{name}": place for place, name in enumerate(_LONG)}

    def place(item: pytest.Item) -> tuple[int, int]:
        return place_of.get(item.path.stem, len(_LONG)), -tests_of[item.path]

    items.sort(key=place)


def _deselect(
    config: pytest.Config, items: list[pytest.Item], unwanted: Callable[[pytest.Item], bool]
) -> None:
    config.hook.pytest_deselected(items=[item for item in items if unwanted(item)])
    items[:] = [item for item in items if not unwanted(item)]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is lengthy, and all rows but those named, or one of each kind of backend."""
    if "lengthy" not in config.option.markexpr:
        _deselect(config, items, lambda item: item.get_closest_marker("lengthy") is not None)
    rows = {item: mark for item in items if (mark := item.get_closest_marker("backend"))}
    wanted, known = set(config.getoption("backend")), {mark.args[0] for mark in rows.values()}
    if rows and not wanted <= known:
        raise pytest.UsageError(
            f"no test has a row for --backend={', '.join(sorted(wanted - known))}; "
            f"there are rows for {', '.join(sorted(known))}"
        )
    for item, mark in rows.items():
        if not wanted and not mark.kwargs["by_default"]:
            item.add_marker(pytest.mark.exhaustive)
    if hasattr(config, "workerinput"):  # of pytest-xdist
        _begin_with_what_takes_long(items)
    if wanted:
        _deselect(config, items, lambda item: item in rows and rows[item].args[0] not in wanted)


# --- documentation ---------------------------------------------------------------------------

_DOCS = Path(__file__).parent / "docs"
_FILE_NAME = re.compile(r"\{?# ([\w./-]+\.\w+)(?: #\})?\n")
_run_python = PythonEvaluator()


def _write_file(example: Example) -> bool:
    name = _FILE_NAME.match(example.parsed)
    if name:
        path = Path(name[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example.parsed)
    return name is not None


def _evaluate_python(example: Example) -> None:
    if not _write_file(example):
        _run_python(example)


def _evaluate_other(example: Example) -> None:
    _write_file(example)


def _run_commands(example: Example) -> str | None:
    """Run a console block as somebody would who has the tests' environment; say what failed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-eu", "-c", example.parsed],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout + ran.stderr if ran.returncode else None


def _parse(document: Document) -> Iterable[Region]:
    yield from CodeBlockParser(language="python", evaluator=_evaluate_python)(document)
    for language in ("toml", "yaml", "htmldjango"):
        yield from CodeBlockParser(language=language, evaluator=_evaluate_other)(document)
    if _DOCS in Path(document.path).parents:
        yield from SkipParser()(document)
        yield from CodeBlockParser(language="console", evaluator=_run_commands)(document)


def _enter_directory(namespace: dict[str, Any]) -> None:
    namespace["_directory"] = directory = tempfile.TemporaryDirectory()
    namespace["_former"] = Path.cwd(), os.environ.copy()
    os.chdir(directory.name)
    sys.path.insert(0, directory.name)


def _leave_directory(namespace: dict[str, Any]) -> None:
    sys.path.remove(namespace["_directory"].name)
    here = Path(namespace["_directory"].name)
    for name, module in list(sys.modules.items()):  # each page may have an `app.py`
        file = getattr(module, "__file__", None)
        if file is not None and here in Path(file).parents:
            del sys.modules[name]
    former, environment = namespace["_former"]
    os.chdir(former)
    os.environ.clear()
    os.environ.update(environment)
    namespace["_directory"].cleanup()


pytest_collect_file = Sybil(
    parsers=[_parse],
    patterns=["*.md"],
    excludes=[
        *("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "docs/index.md", "docs/tutorial.md"),
        *(f"docs/{page.relative_to(_DOCS)}" for page in _DOCS.rglob("*.md") if page.is_symlink()),
    ],
    setup=_enter_directory,
    teardown=_leave_directory,
).pytest()
