"""What sessions take: memory of Redis, disk of databases and files, memory of the process.

    python -m benchmarks.capacity [--sessions 100000] [--postgresql URL] [--mariadb URL]

One session a user, with the data of `workload.py`. Prints bytes per session as a Markdown table.
For time, see README.md.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.places import MARIADB, POSTGRESQL, MissingError, Place, open_place, settle
from benchmarks.workload import DATA, TTL

Row = tuple[str, str, float]  # a store, what it takes, bytes


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--postgresql", default=POSTGRESQL, metavar="URL")
    parser.add_argument("--mariadb", default=MARIADB, metavar="URL")
    options = parser.parse_args()
    urls = {"postgresql": options.postgresql, "mariadb": options.mariadb}
    size = len(json.dumps(DATA))
    print(f"{options.sessions:,} sessions of {size} bytes of JSON, one for each user\n")
    print("| store | what | bytes per session |\n| --- | --- | --- |")
    for name, measure in _MEASURES.items():
        try:
            with open_place(name, urls) as place:
                for store, what, taken in measure(place, options.sessions):
                    print(f"| {store} | {what} | {taken / options.sessions:,.0f} |", flush=True)
        except MissingError as error:
            print(f"| {name} | not measured: {error} | |", flush=True)


def _fill(store: Any, sessions: int) -> None:
    with store:
        for number in range(sessions):
            store.create(f"user{number:07}@example.org", DATA)


def _redis(place: Place, sessions: int) -> Iterator[Row]:
    from jam_redis import RedisSessions
    from redis import Redis

    for max_age in (None, 86_400):
        with Redis.from_url(place.url) as client:
            client.execute_command("FLUSHALL", "SYNC")  # Valkey frees in the background
            before = client.info("memory")["used_memory"]
            _fill(RedisSessions(place.url, ttl=TTL, max_age=max_age), sessions)
            after = client.info("memory")["used_memory"]
        yield place.title, "memory, with max_age" if max_age else "memory", after - before


def _sql(place: Place, sessions: int) -> Iterator[Row]:
    from jam_sqlalchemy import SQLAlchemySessions
    from sqlalchemy import create_engine, text

    url = place.sqlalchemy_url("jam")
    _fill(SQLAlchemySessions(url, ttl=TTL), sessions)
    settle(place)
    engine = create_engine(url)
    with engine.connect() as connection:
        taken = connection.execute(text(_TABLE_SIZES[place.name])).scalar()
    engine.dispose()
    yield place.title, "disk, with indexes", float(taken or 0)


_TABLE_SIZES = {
    "postgresql": "SELECT pg_total_relation_size('jam_sessions')",
    "mariadb": "SELECT file_size FROM information_schema.innodb_sys_tablespaces "
    "WHERE name = CONCAT(DATABASE(), '/jam_sessions')",
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
}

_RESIDENT = """\
import sys
from pathlib import Path
from jam_json import JSONSessions

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024

JSONSessions(sys.argv[2]).get("nobody")
before = resident()
store = JSONSessions(sys.argv[1])
store.get("nobody")
print(resident() - before)
"""


def _json(place: Place, sessions: int) -> Iterator[Row]:
    from jam_json import JSONSessions

    document = place.directory / "sessions.json"
    _fill(JSONSessions(document, ttl=TTL), sessions)
    yield "JSON document", "disk", document.stat().st_size
    command = [sys.executable, "-c", _RESIDENT, str(document), str(place.directory / "empty.json")]
    yield "JSON document", "memory of each process", float(subprocess.check_output(command))
    directory = place.directory / "sessions"
    _fill(JSONSessions(directory, ttl=TTL), sessions)
    yield "JSON directory", f"disk, {place.title}", sum(map(_blocks, directory.rglob("*")))


def _blocks(path: Path) -> int:
    return path.lstat().st_blocks * 512


_MEASURES: dict[str, Callable[[Place, int], Iterator[Row]]] = {
    "redis": _redis,
    "valkey": _redis,
    "postgresql": _sql,
    "mariadb": _sql,
    "sqlite": _sql,
    "files": _json,
}


if __name__ == "__main__":
    main()
