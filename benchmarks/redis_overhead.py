"""What a session takes in the memory of a Redis server.

    python benchmarks/redis_overhead.py [redis://127.0.0.1:6379/15]

MEMORY USAGE of all keys of 10,000 users, one session each, data of 80 bytes. The sessions are
under a path of their own and are removed in the end. For time, see README.md.
"""

import sys
from uuid import uuid4

from jam_redis import RedisSessions
from redis import Redis

DATA = {"user": "ann@example.org", "role": "admin", "cart": [1, 2, 3], "theme": "dark"}
SESSIONS = 10_000


def memory(uri: str, max_age: int | None) -> float:
    """Return what a session takes on the server, in bytes."""
    client, path = Redis.from_url(uri, protocol=2), f"benchmark-{uuid4()}"
    users = [f"user{n:05}@example.org" for n in range(SESSIONS)]
    with RedisSessions(client, path, max_age=max_age) as store:
        for user in users:
            store.create(user, DATA)
        names = list(client.scan_iter(match=f"*{path}*", count=1000))
        used = sum(client.memory_usage(name, samples=0) or 0 for name in names)
        for user in users:
            store.clear(user)
    return used / SESSIONS


def main() -> None:
    uri = sys.argv[1] if len(sys.argv) > 1 else "redis://127.0.0.1:6379/15"
    print(f"a session with a ttl            {memory(uri, None):8.0f} bytes")
    print(f"a session with ttl and max_age  {memory(uri, 86_400):8.0f} bytes")


if __name__ == "__main__":
    main()
