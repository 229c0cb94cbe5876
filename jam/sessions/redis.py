"""The Redis store under the specification's path, which calls it `Redis`, too."""

try:
    from jam_redis import RedisSessions
except ModuleNotFoundError as error:
    if error.name != "jam_redis":
        raise
    raise ImportError("jam.sessions.redis needs the Redis store: pip install jam-redis") from error

Redis = RedisSessions

__all__ = ["Redis", "RedisSessions"]
