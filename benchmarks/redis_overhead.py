"""What the Redis store adds to bare redis-py, on one connection.

    python benchmarks/redis_overhead.py [redis://127.0.0.1:6379/15] [rounds]

Every round times each call once, so that what else the machine does falls on all of them alike.
Then what a session takes on the server: MEMORY USAGE of all keys of 10,000 users, one session
each, data of 80 bytes. The sessions are under a path of their own and are removed in the end.
"""

import statistics
import sys
import time
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

from jam_redis import RedisSessions
from jam_redis.scripts import CREATE, UPDATE
from redis import Redis

from jam_core import Jam

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = {"user": "ann@example.org", "role": "admin", "cart": [1, 2, 3], "theme": "dark"}


def measure(uri: str, rounds: int) -> dict[str, float]:
    """Return the median of each call, in microseconds."""
    client = Redis.from_url(uri, single_connection_client=True, protocol=2)
    path = f"benchmark-{uuid4()}"
    store = RedisSessions(client, path)
    jam = Jam({"session": {"session_type": store}})
    session_id = store.create("ann", DATA)
    text = store.codec.encode(DATA)
    commands, keys = store._commands, store._commands.keys_of("ann")

    users = count()

    def bare_create() -> object:
        user = f"user{next(users)}"
        new = commands.create(commands.keys_of(user), f"{user}:{uuid4()}", text)
        return client.execute_command(*new.words(known=True))

    update = commands.update(keys, session_id, text).words(known=True)
    calls: dict[str, Callable[[], object]] = {
        "bare HGET": lambda: client.hget(f"{path}:ann", session_id),
        "store.get": lambda: store.get(session_id),
        "jam.session_get": lambda: jam.session_get(session_id),
        "bare EVALSHA, create": bare_create,
        "store.create": lambda: store.create(f"user{next(users)}", DATA),
        "bare EVALSHA, update": lambda: client.execute_command(*update),
        "store.update": lambda: store.update(session_id, DATA),
    }
    times: dict[str, list[int]] = {name: [] for name in calls}
    try:
        client.script_load(CREATE.text)
        client.script_load(UPDATE.text)
        for _ in range(rounds):
            for name, call in calls.items():
                begin = time.perf_counter_ns()
                call()
                times[name].append(time.perf_counter_ns() - begin)
    finally:
        store.clear("ann")
        for n in range(next(users)):
            store.clear(f"user{n}")
    return {name: statistics.median(taken) / 1000 for name, taken in times.items()}


def memory(uri: str, sessions: int, max_age: int | None) -> float:
    """Return what a session takes on the server, in bytes."""
    client, path = Redis.from_url(uri, protocol=2), f"benchmark-{uuid4()}"
    with RedisSessions(client, path, max_age=max_age) as store:
        for n in range(sessions):
            store.create(f"user{n:05}@example.org", DATA)
        names = list(client.scan_iter(match=f"*{path}*", count=1000))
        used = sum(client.memory_usage(name, samples=0) or 0 for name in names)
        for n in range(sessions):
            store.clear(f"user{n:05}@example.org")
    return used / sessions


def main() -> None:
    uri = sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379/15"
    medians = measure(uri, int(sys.argv[2]) if len(sys.argv) > 2 else 3000)
    bare = 0.0
    for name, median in medians.items():
        if name.startswith("bare"):
            bare = median
            print(f"{name:22}{median:8.1f} us")
        else:
            print(f"{name:22}{median:8.1f} us  {100 * (median / bare - 1):+.1f} %")
    print(f"a session with a ttl            {memory(uri, 10_000, None):8.0f} bytes")
    print(f"a session with ttl and max_age  {memory(uri, 10_000, 86_400):8.0f} bytes")


if __name__ == "__main__":
    main()
