"""What the SQLAlchemy store adds to SQLAlchemy Core, and what `purge` does to writers.

    python benchmarks/sqlalchemy_overhead.py [URL] [rounds]
    python benchmarks/sqlalchemy_overhead.py purge [URL] [rows]

The first times `get` beside the same SELECT by hand through Core, with equal engines. Every round
times each call once, so that what else the machine does falls on all of them alike.

The second lets 4 processes create and update for some seconds, then again while `purge` removes
1,000,000 expired rows, and compares how long their operations took. It also prints how each
operation finds its rows among them (PostgreSQL).
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any
from uuid import uuid4

from jam_sqlalchemy import SQLAlchemySessions, metadata
from sqlalchemy import Engine, bindparam, create_engine, event, or_, select, text

from jam_core import hash_id

URL = "postgresql+psycopg://postgres@127.0.0.1:5432/test"
DATA = {"user": "ann@example.org", "role": "admin", "cart": [1, 2, 3], "theme": "dark"}
WRITERS = 4


def by_hand(engine: Engine, table_name: str, session_id: str) -> Callable[[], object]:
    """Return a function that does what `get` does, with nothing around it."""
    row = metadata(table_name).tables[table_name].c
    lives = or_(row.expires_at.is_(None), row.expires_at > bindparam("now"))
    statement = select(row.data).where(row.id_hash == bindparam("the_id"), lives)
    id_hash = hash_id(session_id)

    def execute() -> object:
        with engine.connect() as connection:
            values = {"the_id": id_hash, "now": time.time()}
            return connection.execute(statement, values).scalar()

    return execute


def overhead(url: str, rounds: int) -> None:
    """Print the medians of each call, in microseconds."""
    name = f"benchmark_{uuid4().hex[:8]}"
    like_ours = create_engine(url, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
    usual = create_engine(url)
    by_view = usual.execution_options(isolation_level="AUTOCOMMIT")
    store = SQLAlchemySessions(url, table_name=name)
    on_alike = SQLAlchemySessions(like_ours, table_name=name)
    on_usual = SQLAlchemySessions(usual, table_name=name)
    session_id = store.create("ann", DATA)
    calls: dict[str, Callable[[], object]] = {
        "Core by hand, an engine like the store's own": by_hand(like_ours, name, session_id),
        "get, the store's own engine": lambda: store.get(session_id),
        "get, a caller's engine like the store's own": lambda: on_alike.get(session_id),
        "Core by hand, a caller's engine set to autocommit": by_hand(by_view, name, session_id),
        "get, a caller's engine": lambda: on_usual.get(session_id),
        "Core by hand, a caller's engine with BEGIN": by_hand(usual, name, session_id),
        "update, the store's own engine": lambda: store.update(session_id, DATA),
    }
    times: dict[str, list[int]] = {call: [] for call in calls}
    for _ in range(rounds):
        for call, function in calls.items():
            begin = time.perf_counter_ns()
            function()
            times[call].append(time.perf_counter_ns() - begin)
    for call, spent in times.items():
        print(f"{statistics.median(spent) / 1000:8.1f} us  {call}")
    metadata(name).drop_all(usual)
    store.close()
    like_ours.dispose()
    usual.dispose()


def write(url: str, name: str, stop: Event, results: Any) -> None:
    """Create and update until told to stop; give back how long each operation took."""
    store = SQLAlchemySessions(url, table_name=name)
    spent = []
    session_id = store.create("ann", DATA)
    while not stop.is_set():
        begin = time.perf_counter()
        session_id = store.create("ann", DATA)
        spent.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        store.update(session_id, DATA)
        spent.append(time.perf_counter() - begin)
    store.close()
    results.put(spent)


def with_writers(url: str, name: str, meanwhile: Callable[[], object]) -> list[float]:
    """Return how long the writers' operations took while something else went on."""
    context = multiprocessing.get_context("spawn")
    stop, results = context.Event(), context.Queue()
    writers = [
        context.Process(target=write, args=(url, name, stop, results)) for _ in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    time.sleep(2)
    meanwhile()
    stop.set()
    spent = [one for _ in writers for one in results.get()]
    for writer in writers:
        writer.join()
    return sorted(spent)


def report(what: str, spent: list[float]) -> float:
    """Print percentiles; return the 99th."""
    p50, p99 = spent[len(spent) // 2], spent[len(spent) * 99 // 100]
    print(
        f"{what}: {len(spent)} operations, p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms, "
        f"longest {spent[-1] * 1000:.1f} ms"
    )
    return p99


def purge(url: str, rows: int) -> None:
    """Purge expired rows while others write."""
    name = f"benchmark_{uuid4().hex[:8]}"
    store = SQLAlchemySessions(url, table_name=name)
    engine = create_engine(url)
    fill = {
        "postgresql": f"SELECT n, encode(sha256(n::text::bytea), 'hex') AS h "
        f"FROM generate_series(1, {rows}) AS s(n)",
        "mariadb": f"SELECT seq AS n, sha2(seq, 256) AS h FROM seq_1_to_{rows}",
        "sqlite": "WITH RECURSIVE s(n) AS "
        f"(SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows}) "
        "SELECT n, hex(randomblob(32)) AS h FROM s",
    }[engine.dialect.name]
    columns = "(id_hash, key_hash, session_key, data, created_at, expires_at)"
    with engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO {name} {columns} SELECT h, h, 'key', '{{}}', n, n FROM ({fill}) AS f"
            )
        )
    if engine.dialect.name == "postgresql":
        explain(engine, name, url)
    quiet = report("quiet", with_writers(url, name, lambda: time.sleep(10)))

    def remove() -> None:
        begin = time.perf_counter()
        removed = store.purge()
        print(f"purged {removed} rows in {time.perf_counter() - begin:.1f} s")

    purging = report("while purging", with_writers(url, name, remove))
    print(f"p99 while purging / quiet: {purging / quiet:.2f}")
    metadata(name).drop_all(engine)
    store.close()
    engine.dispose()


@contextmanager
def noted() -> Iterator[list[tuple[str, Any]]]:
    """Collect the statements that are executed."""
    executed: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        executed.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield executed
    event.remove(Engine, "before_cursor_execute", note)


def explain(engine: Engine, name: str, url: str) -> None:
    """Print how PostgreSQL finds the rows of each operation."""
    store = SQLAlchemySessions(url, table_name=name)
    long_ago = SQLAlchemySessions(url, table_name=name, clock=lambda: 0.0)  # purges nothing
    session_id = store.create("ann", DATA)
    operations: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(session_id),
        "update": lambda: store.update(session_id, DATA),
        "touch": lambda: store.touch(session_id),
        "mutate": lambda: store.mutate(session_id, lambda data: data),
        "delete": lambda: store.delete(session_id),
        "rework": lambda: store.rework(store.create("ann", DATA)),
        "clear": lambda: store.clear("ann"),
        "purge": long_ago.purge,
    }
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"VACUUM ANALYZE {name}"))
        for operation, execute in operations.items():
            with noted() as executed:
                execute()
            for statement, parameters in executed:
                if statement.startswith("INSERT"):
                    continue
                parameters["now"] = time.time()
                plan = connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
                print(f"{operation}:", *(line for line in plan if "->" in line or "Scan" in line))
    store.close()
    long_ago.close()


def main() -> None:
    """Run what the command line asks for."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["purge"]:
        url, rows = [*arguments[1:], *[URL, "1000000"][len(arguments) - 1 :]]
        purge(url, int(rows))
    else:
        url, rounds = [*arguments, *[URL, "20000"][len(arguments) :]]
        overhead(url, int(rounds))


if __name__ == "__main__":
    main()
