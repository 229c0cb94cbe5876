"""The store 'mydb' for Jam."""

from jam_mydb.sessions import MydbSessions

__all__ = ["MydbSessions"]
