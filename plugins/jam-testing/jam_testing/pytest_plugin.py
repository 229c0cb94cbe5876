"""The pytest plugin: `pytest --jam-store=mydb --jam-config=config.toml` certifies a store.

Without these options, it does nothing and imports nothing heavy. See docs/certify-a-store.md.
"""

from typing import Any

import pytest

_SUITE = "jam_testing.certification_suite"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the options."""
    group = parser.getgroup("jam", "certification of a session store of Jam")
    group.addoption(
        "--jam-store",
        metavar="TYPE",
        help="run the contract suite against this session_type, and nothing else",
    )
    group.addoption(
        "--jam-config",
        metavar="FILE",
        help="the configuration that says where its sessions live",
    )
    group.addoption(
        "--jam-pointer",
        metavar="TABLE",
        help="the dotted path of Jam's table in that file (default: jam)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Collect the contract suite, and nothing from the directory that pytest is called in."""
    given = early_config.known_args_namespace
    if not _is_asked(given):
        return
    if given.file_or_dir:
        raise pytest.UsageError(
            f"--jam-store only runs the contract suite: leave out {' '.join(given.file_or_dir)}"
        )
    given.noconftest = True
    args += ["--noconftest", "--pyargs", _SUITE]


def pytest_configure(config: pytest.Config) -> None:
    """Open the store once, so that anything wrong with its configuration is reported first."""
    if not _is_asked(config.option):
        return
    try:
        from jam_testing.certification_report import certify
    except ModuleNotFoundError as error:
        raise pytest.UsageError(
            f"the contract suite needs the package {error.name!r}: pip install 'jam-core[testing]'"
        ) from error
    certify(config)


def _is_asked(given: Any) -> bool:
    """Tell whether a certification was asked for; refuse to guess half of it."""
    if given.jam_store and given.jam_config:
        return True
    if given.jam_store or given.jam_config or given.jam_pointer:
        raise pytest.UsageError(
            "to certify a store, give both, as in --jam-store=mydb --jam-config=config.toml: "
            "which store, and the file that says where its sessions live"
        )
    return False
