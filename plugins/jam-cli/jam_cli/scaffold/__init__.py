"""The scaffold: `jam new-store mydb` writes a whole distribution for a store, offline."""

import os
import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from jam_core import JamError
from jam_core.hosting import installed_stores

# A working distribution of the store "mydb", which is written under another name.
_TEMPLATE = Path(__file__).parent / "templates" / "jam-mydb"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST_NAME = 30
_RELEASE = re.compile(r"(\d+)\.(\d+)")


def write_plugin(name: str, directory: str | os.PathLike[str] = ".") -> list[Path]:
    """Write a plugin distribution: a store that works, its tests, its README, its CI.

    Args:
        name: What configurations will call the store, their `session_type`.
        directory: Where to write the folder, `jam-<name>`; it must not exist yet.

    Returns:
        The files.

    Raises:
        JamError: The name cannot be used, or the folder exists already or cannot be written.
            Nothing was written.
    """
    _check_name(name)
    folder = Path(directory) / f"jam-{name}"
    if folder.exists() or folder.is_symlink():
        raise JamError(f"{folder} exists already: nothing is overwritten. Choose another place.")
    try:
        # Written elsewhere and then moved: it appears complete, or not at all.
        with TemporaryDirectory(prefix=".jam-", dir=directory) as workshop:
            files = _write_files(name, Path(workshop) / folder.name)
            (Path(workshop) / folder.name).rename(folder)
    except OSError as error:
        raise JamError(
            f"{folder} cannot be written: {error.strerror}. Nothing was written."
        ) from error
    return [folder / file for file in files]


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise JamError(
            f"{name!r} is not a name for a store: start with a lower-case letter, then use "
            "lower-case letters, digits, and single hyphens between them; at most "
            f"{_LONGEST_NAME} characters."
        )
    if name.startswith("jam-"):
        raise JamError(f"Leave out 'jam-': the package of the store {name[4:]!r} is called {name}.")
    if name == "custom":
        raise JamError('session_type = "custom" has a meaning already: choose another name.')
    for plugin in installed_stores():
        if plugin.name == name:
            raise JamError(f"There is a store of this name, {plugin}: choose another name.")
    if find_spec(_package(name)) is not None:
        raise JamError(f"There is a package {_package(name)} already: choose another name.")


def _write_files(name: str, folder: Path) -> list[Path]:
    files = []
    for template in sorted(_TEMPLATE.rglob("*")):
        file = template.relative_to(_TEMPLATE)
        if template.is_dir() or "cache" in str(file):  # what tools leave behind
            continue
        file = Path(_renamed(str(file), name))
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        text = _renamed(template.read_text(encoding="utf-8"), name)
        (folder / file).write_text(text, encoding="utf-8")
        files.append(file)
    return files


def _renamed(text: str, name: str) -> str:
    words = name.split("-")
    for former, new in (
        ("jam-core==0.0", f"jam-core{_compatible_releases(version('jam-core'))}"),
        ("jam_mydb", _package(name)),
        ("MydbSessions", f"{''.join(word.capitalize() for word in words)}Sessions"),
        ("mydb", name),
    ):
        text = text.replace(former, new)
    return text


def _package(name: str) -> str:
    return f"jam_{name.replace('-', '_')}"


def _compatible_releases(installed: str) -> str:
    """Return the releases of jam-core that keep what the installed one promises."""
    release = _RELEASE.match(installed)
    major, minor = map(int, release.groups()) if release else (0, 0)
    next_one = f"0.{minor + 1}" if major == 0 else f"{major + 1}"
    return f">={installed.partition('+')[0]},<{next_one}"
