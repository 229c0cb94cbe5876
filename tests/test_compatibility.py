"""What was written against today's hooks works with a core whose hooks have gained an argument."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.isolated import ROOT

# A later core: create takes the device, and there is one optional operation more.
CHANGES = {
    "session.py": {
        "def create(self, session_key: str, data: dict[str, Any]) -> str:": (
            "def create(self, session_key: str, data: dict[str, Any], device: str) -> str:"
        ),
        '    "clear_others",\n)': '    "clear_others",\n    "freeze",\n)',
        "    def records(self) -> Iterator[SessionRecord]:": (
            "    @hookspec(firstresult=True)\n"
            "    def freeze(self, session_id: str) -> None:\n"
            '        raise self._lacks("freeze")\n\n'
            "    def records(self) -> Iterator[SessionRecord]:"
        ),
    },
    "jam.py": {
        "self._hooks.create(session_key=session_key, data=data)": (
            'self._hooks.create(session_key=session_key, data=data, device="phone")'
        ),
    },
}
PLUGINS = """
from jam_core import hookimpl
from tests.memory_store import MemorySessions


class OldStore(MemorySessions):
    def create(self, session_key, data):
        return super().create(session_key, data)


class OldWrapper:
    seen = []

    @hookimpl(wrapper=True)
    def create(self, session_key):
        result = yield
        self.seen.append(session_key)
        return result


class NewWrapper:
    seen = []

    @hookimpl(wrapper=True)
    def create(self, device):
        result = yield
        self.seen.append(device)
        return result
"""
APPLICATION = """
from plugins import NewWrapper, OldStore, OldWrapper
import jam_core
from jam_core import Jam, JamSessionUnsupported

print(jam_core.__file__)
settings = {"session": {"session_type": "plugins:OldStore"}}
with Jam(settings, plugins=[OldWrapper, NewWrapper]) as jam:
    session_id = jam.session_create("ann", {"n": 1})
    assert jam.session_get(session_id) == {"n": 1}
    session_id = jam.session_rework(session_id)
    assert jam.session_get(session_id) == {"n": 1}
    assert "freeze" not in jam.store.capabilities
    try:
        jam._hooks.freeze(session_id=session_id)
    except JamSessionUnsupported as error:
        assert "does not support freeze" in str(error)
    else:
        raise AssertionError
assert (OldWrapper.seen, NewWrapper.seen) == (["ann"], ["phone"])
"""


@pytest.fixture
def later_core(tmp_path: Path) -> Path:
    """A directory with a core of tomorrow, and plugins of today."""
    for package in ("jam_core", "jam", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "cli", "wrong_stores", "scaffold")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    for name, changes in CHANGES.items():
        file = tmp_path / "jam_core" / name
        text = file.read_text()
        for old, new in changes.items():
            assert text.count(old) == 1, f"{name} has changed: {old}"
            text = text.replace(old, new)
        file.write_text(text)
    (tmp_path / "plugins.py").write_text(PLUGINS)
    return tmp_path


def test_plugins_of_today_work_with_hooks_of_tomorrow(later_core: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", APPLICATION],
        cwd=later_core,
        env={"PYTHONPATH": str(later_core), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(later_core)), "it was the core of tomorrow"
