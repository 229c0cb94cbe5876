"""The Redis store for Jam."""

from jam_redis.sessions import RedisSessions

__all__ = ["RedisSessions"]
