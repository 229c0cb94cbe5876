"""Runs the examples in the documentation.

A block whose first line is a comment with a file's name is written to that file; any other Python
block is executed, and in `docs` the commands of a console block are. The blocks of a page follow
each other in a directory of their own. The start page and the tutorial have tests of their own,
which follow them in an empty environment.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

_DOCS = Path(__file__).parent / "docs"
_FILE_NAME = re.compile(r"# ([\w./-]+\.\w+)\n")
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
    for language in ("toml", "yaml"):
        yield from CodeBlockParser(language=language, evaluator=_evaluate_other)(document)
    if _DOCS in Path(document.path).parents:
        yield from SkipParser()(document)
        yield from CodeBlockParser(language="console", evaluator=_run_commands)(document)


def _enter_directory(namespace: dict[str, Any]) -> None:
    namespace["_directory"] = directory = tempfile.TemporaryDirectory()
    namespace["_former"] = Path.cwd()
    os.chdir(directory.name)
    sys.path.insert(0, directory.name)


def _leave_directory(namespace: dict[str, Any]) -> None:
    sys.path.remove(namespace["_directory"].name)
    os.chdir(namespace["_former"])
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
