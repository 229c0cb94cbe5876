"""The store 'lmdb' for Jam."""

from jam_lmdb.sessions import LmdbSessions

__all__ = ["LmdbSessions"]
