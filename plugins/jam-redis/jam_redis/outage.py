"""What an error of redis-py means, in words for the operator."""

import re

from redis import exceptions as errors
from redis.sentinel import MasterNotFoundError

from jam_core import JamSessionCorrupt, JamSessionError, JamStoreUnavailable

RedisFailure = (errors.RedisError, errors.RedisClusterException, OSError)

_FOREIGN = "WRONGTYPE"
_WORDS = {
    "LOADING": "is loading its data: it has just started, and answers when it is done.",
    "AUTH": "refuses the credentials: check user and password in redis_uri.",
    "NOPERM": "denies this user a command or a key: grant what the README of jam-redis lists.",
    "user executing the script": "denies this user a command: see the README of jam-redis.",
    "SSL": "cannot be trusted: check its certificate, and ssl_ca_certs in redis_uri.",
    "READONLY": (
        "is a read-only replica: redis_uri must name the primary, the Sentinels or the cluster."
    ),
    "OOM": "is out of memory: raise its maxmemory, or make room. Nothing was stored.",
    "MISCONF": "cannot save to its disk and refuses to write. Nothing was stored.",
    "NOREPLICAS": "has too few replicas and refuses to write. Nothing was stored.",
    "BUSY": "is busy with a script that does not end.",
    "CLUSTERDOWN": "is down: not every slot of the cluster is served.",
    "TRYAGAIN": "is moving these sessions to another node, and answers when it is done.",
    "MASTERDOWN": "is a replica that has lost its primary.",
    "max number of clients reached": "has no place for another client: raise its maxclients.",
    "Too many connections": "has no connection left for this thread: raise max_connections.",
    "NOMASTER": "has no master: no Sentinel knows one, or they are electing it.",
    "TIMEOUT": "did not answer in time: it is overloaded or cut off, or the timeouts are short.",
    "DOWN": "cannot be reached: it is down, or the address is wrong.",
}
# The first that fits: subclasses before their parents.
_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (errors.BusyLoadingError, "LOADING"),
    (errors.AuthenticationError, "AUTH"),
    (errors.AuthorizationError, "AUTH"),
    (errors.AuthenticationWrongNumberOfArgsError, "AUTH"),
    (errors.NoPermissionError, "NOPERM"),
    (errors.ReadOnlyError, "READONLY"),
    (errors.OutOfMemoryError, "OOM"),
    (errors.MasterDownError, "MASTERDOWN"),
    (errors.ClusterDownError, "CLUSTERDOWN"),
    (errors.ClusterError, "TRYAGAIN"),  # so often that redis-py gave up
    (errors.TryAgainError, "TRYAGAIN"),
    (errors.RedisClusterException, "CLUSTERDOWN"),
    (errors.MaxConnectionsError, "Too many connections"),
    (MasterNotFoundError, "NOMASTER"),
    (errors.TimeoutError, "TIMEOUT"),
)
# Redis before 7 wraps what happens in a script: "ERR Error running script (...): -OOM command...".
_IN_TEXT = re.compile(
    r"\b(LOADING|NOPERM|READONLY|OOM|MISCONF|NOREPLICAS|BUSY|CLUSTERDOWN|MASTERDOWN|WRONGTYPE"
    r"|SSL|user executing the script|max number of clients reached|Too many connections)\b"
)


def fault_of(error: BaseException | None) -> str:
    """Return a name for what is wrong: a key of the table above, or ""."""
    kind = next((name for kind, name in _KINDS if isinstance(error, kind)), "")
    if kind:
        return kind
    found = _IN_TEXT.search(str(error))
    if found:
        return found[1]
    return "DOWN" if isinstance(error, errors.ConnectionError | OSError) else ""


def was_refused(error: Exception) -> bool:
    """Tell whether the server was found to be the wrong one before anything was done."""
    if fault_of(error) == "READONLY":
        return True
    # With Sentinel, redis-py hides a demoted master's answer behind a broken connection. Its words
    # count, too: whatever the caller is handling just now is a context as well.
    hidden = isinstance(error.__context__, errors.ReadOnlyError)
    return hidden and "previous master" in str(error)


def was_cut_off(error: Exception) -> bool:
    """Tell whether a connection broke or could not be made; it may be another's turn next."""
    return fault_of(error) in ("DOWN", "NOMASTER")


def explain(error: Exception, address: str) -> JamSessionError:
    """Return the error to raise for an error of redis-py.

    Args:
        error: What redis-py raised.
        address: The server's address.
    """
    fault = fault_of(error)
    if fault == _FOREIGN:
        return JamSessionCorrupt(
            f"Redis at {address}: a key under session_path holds something else than sessions. "
            "It was left as it is; give the sessions a session_path of their own."
        )
    words = _WORDS.get(fault, f"refuses to work: {type(error).__name__}, the cause of this error.")
    return JamStoreUnavailable(f"Redis at {address} {words}")
