"""What the tests of the command share."""

from tests.cli.places import configure, postgresql_url, redis_uri

__all__ = ["configure", "postgresql_url", "redis_uri"]
