"""The JSON file store for Jam."""

from jam_json.sessions import JSONSessions

__all__ = ["JSONSessions"]
