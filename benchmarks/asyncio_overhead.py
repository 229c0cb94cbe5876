"""What a call costs in an event loop, beside the drivers' own and other session stores.

    python -m benchmarks.asyncio_overhead [--quick] [--draw FILE]

So many calls are always under way: 1, 16, 128. The variants take turns, block by block, so that
what else the machine does falls on all alike; a figure is the best of the blocks. CPU is the
processor's time of this process, microseconds a call: the budgets limit its ratios. What is not
installed, or does not answer, is left out and named.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.budgets import ASYNCIO_BUDGETS
from benchmarks.places import POSTGRESQL, MissingError, open_place
from benchmarks.plot import Bar, chart
from benchmarks.workload import CHANGED, DATA, TTL
from jam import Jam as PlainJam
from jam.aio import Jam

AT_ONCE = (1, 16, 128)
_FLOORS = ("redis.asyncio HGET", "redis.asyncio HGET, HSET", "asyncpg fetchval")
Call = Callable[[], Awaitable[Any]]


class Figure(NamedTuple):
    """The best of several blocks: microseconds of CPU a call, calls a second, p99 in ms."""

    cpu: float
    rate: float
    p99: float


async def redis_variants(url: str, stack: AsyncExitStack) -> dict[str, Call]:
    """Return what reads a session from Redis, or also writes it, in so many ways."""
    import redis.asyncio

    settings = {"session": {"session_type": "redis", "redis_uri": url}}
    jam = await stack.enter_async_context(Jam(settings))
    plain = stack.enter_context(PlainJam(settings))
    client: Any = redis.asyncio.Redis.from_url(url, max_connections=1000)
    stack.push_async_callback(client.aclose)
    session_id = await jam.session_create("user1", DATA)

    async def hget() -> Any:
        return json.loads(await client.hget("sessions:user1", session_id))

    async def get_update() -> None:
        await jam.session_get(session_id)
        await jam.session_update(session_id, CHANGED)

    async def hget_hset() -> None:
        await hget()
        await client.hset("sessions:user1 bare", session_id, json.dumps(CHANGED))

    variants: dict[str, Call] = {
        "redis.asyncio HGET": hget,
        "jam.aio get": lambda: jam.session_get(session_id),
        "get in to_thread": lambda: asyncio.to_thread(plain.session_get, session_id),
        "redis.asyncio HGET, HSET": hget_hset,
        "jam.aio get, update": get_update,
    }
    try:
        from starsessions.stores.redis import RedisStore
    except ModuleNotFoundError as error:
        print(f"left out: {error.name}")
    else:
        stars = RedisStore(connection=client)
        await stars.write("star", json.dumps(DATA).encode(), lifetime=TTL, ttl=TTL)
        variants["starsessions read"] = lambda: stars.read("star", TTL)
    try:
        from litestar.stores.redis import RedisStore as LitestarStore
    except ModuleNotFoundError as error:
        print(f"left out: {error.name}")
    else:
        store = LitestarStore(client, handle_client_shutdown=False)
        await store.set("star", json.dumps(DATA).encode(), expires_in=TTL)
        variants["Litestar get"] = lambda: store.get("star")
    return variants


async def postgresql_variants(url: str, stack: AsyncExitStack) -> dict[str, Call]:
    """Return what reads a session from PostgreSQL, in so many ways."""
    import asyncpg
    from sqlalchemy import make_url, text
    from sqlalchemy.ext.asyncio import create_async_engine

    async def opened(driver: str) -> Jam:
        address = make_url(url).set(drivername=f"postgresql+{driver}")
        if driver == "asyncpg" and "options" in address.query:
            schema = str(address.query["options"]).partition("search_path=")[2]
            address = address.difference_update_query(["options"])
            options = {"connect_args": {"server_settings": {"search_path": schema}}}
        else:
            options = {}
        settings = {"session_type": "sqlalchemy", "database_uri": address, **options}
        return await stack.enter_async_context(Jam({"session": settings}))

    jam, on_psycopg = await opened("asyncpg"), await opened("psycopg")
    plain = stack.enter_context(
        PlainJam({"session": {"session_type": "sqlalchemy", "database_uri": url}})
    )
    session_id = await jam.session_create("user1", DATA)
    address = make_url(url)
    schema = str(address.query.get("options", "")).partition("search_path=")[2] or "public"
    where = {"host": address.host, "port": address.port, "user": address.username}
    pool = await stack.enter_async_context(
        asyncpg.create_pool(**where, database=address.database, min_size=15, max_size=15)
    )
    bare = address.set(drivername="postgresql+asyncpg").difference_update_query(["options"])
    engine = create_async_engine(bare, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
    stack.push_async_callback(engine.dispose)
    sql = f"SELECT data FROM {schema}.jam_sessions LIMIT 1"
    statement = text(sql)

    async def fetchval() -> Any:
        return json.loads(await pool.fetchval(sql))

    async def by_sqlalchemy() -> Any:
        async with engine.connect() as connection:
            return json.loads((await connection.execute(statement)).scalar_one())

    return {
        "asyncpg fetchval": fetchval,
        "SQLAlchemy, asyncpg": by_sqlalchemy,
        "jam.aio get, asyncpg": lambda: jam.session_get(session_id),
        "jam.aio get, psycopg": lambda: on_psycopg.session_get(session_id),
        "psycopg get in to_thread": lambda: asyncio.to_thread(plain.session_get, session_id),
    }


async def block(call: Call, at_once: int, calls: int) -> Figure:
    """Make so many calls, so many of them at once."""
    spent: list[float] = []

    async def work() -> None:
        for _ in range(max(1, calls // at_once)):
            begin = time.perf_counter()
            await call()
            spent.append(time.perf_counter() - begin)

    cpu, begin = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    took, used = time.perf_counter() - begin, time.process_time() - cpu
    spent.sort()
    p99 = spent[int(len(spent) * 0.99)]
    return Figure(used / len(spent) * 1e6, len(spent) / took, p99 * 1e3)


async def measure(variants: dict[str, Call], rounds: int, calls: int) -> dict[Any, Figure]:
    """Let the variants take turns; return the best block of each, by name and calls at once."""
    figures: dict[Any, list[Figure]] = {}
    for at_once in AT_ONCE:
        for call in variants.values():
            await block(call, at_once, calls // 4)  # warms the caches
        for _ in range(rounds):
            for name, call in variants.items():
                figure = await block(call, at_once, calls if at_once > 1 else calls // 2)
                figures.setdefault((name, at_once), []).append(figure)
    return {
        key: Figure(
            min(f.cpu for f in found), max(f.rate for f in found), min(f.p99 for f in found)
        )
        for key, found in figures.items()
    }


def tell(variants: dict[str, Call], figures: dict[Any, Figure]) -> None:
    """Print the figures as a table, and what became of the budgets."""
    print("| | " + " | ".join(f"{n} at once" for n in AT_ONCE) + " |")
    print("| --- " * (len(AT_ONCE) + 1) + "|")
    for name in variants:
        cells = [
            f"{f.cpu:.0f} µs, {f.rate:,.0f}/s, p99 {f.p99:.1f} ms"
            for f in (figures[name, n] for n in AT_ONCE)
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    for name, other, at_once, limit in ASYNCIO_BUDGETS:
        if (name, at_once) in figures and (other, at_once) in figures:
            ratio = figures[name, at_once].cpu / figures[other, at_once].cpu
            met = "met" if ratio <= limit else "NOT MET"
            print(f"CPU of {name} over {other}, {at_once} at once: {ratio:.2f}, {limit} {met}")


def bars(variants: dict[str, Call], figures: dict[Any, Figure]) -> list[Bar]:
    """Return the CPU of a call with the most calls at once, the cheapest first."""
    found = []
    for name in variants:
        cpu = figures[name, AT_ONCE[-1]].cpu
        kind = "ours" if "jam.aio" in name else "floor" if name in _FLOORS else "peer"
        found.append(Bar(name, cpu, f"{cpu:.0f} us", kind))
    return sorted(found, key=lambda bar: bar.value)


async def main(rounds: int, calls: int, drawing: Path | None) -> None:
    """Measure at each place that is there."""
    groups = {}
    for name, variants_at in (("valkey", redis_variants), ("postgresql", postgresql_variants)):
        try:
            with open_place(name, {"postgresql": POSTGRESQL}) as place:
                async with AsyncExitStack() as stack:
                    variants = await variants_at(place.url, stack)
                    print(f"\n## {place.title}\n")
                    figures = await measure(variants, rounds, calls)
                    tell(variants, figures)
                    groups[place.title] = bars(variants, figures)
        except (MissingError, ModuleNotFoundError) as error:
            print(f"left out: {name}: {error}")
    picture = chart("In an event loop", f"CPU of a call, {AT_ONCE[-1]} at once", groups)
    if drawing is not None and picture is not None:
        drawing.write_text(picture.svg(), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="an SVG file for the plot")
    options = parser.parse_args()
    asyncio.run(main(*((3, 800) if options.quick else (12, 4000)), options.draw))
