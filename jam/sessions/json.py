"""The JSON store under the specification's path."""

try:
    from jam_json import JSONSessions
except ModuleNotFoundError as error:
    if error.name != "jam_json":
        raise
    raise ImportError("jam.sessions.json needs the JSON store: pip install jam-json") from error

__all__ = ["JSONSessions"]
