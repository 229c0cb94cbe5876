"""What redis-py's errors mean, in words for the operator."""

import re
import ssl
import sys
from socket import gaierror
from typing import NamedTuple

from redis import exceptions as errors
from redis.sentinel import MasterNotFoundError

from jam_core import JamSessionCorrupt, JamSessionDataError, JamSessionError, JamStoreUnavailable
from jam_redis.connections import NotSentError

_LARGE = 1_000_000  # bytes


class Fault(NamedTuple):
    """How a cause is reported.

    Attributes:
        name: What it is called here.
        kind: The class of the error.
        said: What its message must contain; "" matches any.
        words: What to say about the server; `{said}` is what it said itself, if that holds no
            secret.
    """

    name: str
    kind: type[BaseException] | tuple[type[BaseException], ...]
    said: str
    words: str


_FOREIGN, _TOO_LARGE = "foreign", "too large"

# The first that fits, tried on the innermost cause first: what wraps a cause knows less about it.
# Redis before 7 wraps what happens in a script: "ERR Error running script (...): -OOM command...".
_FAULTS = (
    Fault(
        "certificate",
        ssl.SSLCertVerificationError,
        "",
        "has a certificate that cannot be trusted ({said}): check it, and ssl_ca_certs in "
        "redis_uri.",
    ),
    Fault(
        "no tls",
        ssl.SSLError,
        "WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNEXPECTED_MESSAGE|HTTP_REQUEST",
        "does not speak TLS on this port: name its TLS port, or use redis:// instead of rediss://.",
    ),
    Fault(
        "timeout",
        TimeoutError,
        "handshake",
        "did not answer the TLS handshake in time: it may not speak TLS on this port (redis://).",
    ),
    Fault("tls", ssl.SSLError, "", "refuses the TLS connection: {said}."),
    Fault(
        "unknown host",
        gaierror,
        "",
        "has a host name that cannot be found ({said}): check redis_uri, and DNS.",
    ),
    Fault(
        "down",
        ConnectionRefusedError,
        "",
        "refused the connection: nothing listens there. Start it, or correct the address.",
    ),
    Fault(
        "no file",
        FileNotFoundError,
        "",
        "cannot be connected to: no such file. Check the path of the socket, or of the "
        "certificates, in redis_uri.",
    ),
    Fault(
        "no pool",
        errors.MaxConnectionsError,
        "",
        "has no connection left for this thread: raise max_connections.",
    ),
    Fault(
        "loading",
        errors.BusyLoadingError,
        "",
        "is loading its data: it has just started, and will respond when it is done.",
    ),
    Fault(
        "no password",
        Exception,
        r"NOAUTH|Authentication required|unauthenticated (multi)?bulk length",
        "wants a password, and redis_uri has none: redis://user:password@host:port/.",
    ),
    Fault(
        "password",
        Exception,
        r"WRONGPASS|invalid username-password|invalid password|without any password configured"
        r"|no password is set",
        "refuses the credentials: check user and password in redis_uri.",
    ),
    Fault(
        "password",
        errors.AuthenticationError,
        "",
        "refuses the credentials: check user and password in redis_uri.",
    ),
    Fault(
        "password",
        errors.AuthorizationError,
        "",
        "refuses the credentials: check user and password in redis_uri.",
    ),
    Fault(
        "rights",
        Exception,
        r"\bNOPERM\b|no permissions to|No permissions to|user executing the script",
        "denies this user a command or a key{said}: grant what the README of jam-redis lists.",
    ),
    Fault(
        "replica",
        errors.RedisError,
        r"\bREADONLY\b|against a read only replica",
        "is a read-only replica: redis_uri must name the primary, the Sentinels or the cluster.",
    ),
    Fault(
        "memory",
        errors.RedisError,
        r"\bOOM\b|used memory > 'maxmemory'",
        "is out of memory: raise its maxmemory, or make room. Nothing was stored.",
    ),
    Fault(
        "disk",
        errors.RedisError,
        r"\bMISCONF\b",
        "cannot save to its disk and refuses to write. Nothing was stored.",
    ),
    Fault(
        "few replicas",
        errors.RedisError,
        r"\bNOREPLICAS\b",
        "has too few replicas and refuses to write: see min-replicas-to-write. Nothing was stored.",
    ),
    Fault("busy", errors.RedisError, r"\bBUSY\b", "is busy with a script that does not end."),
    Fault(
        "lost primary",
        errors.RedisError,
        r"\bMASTERDOWN\b|Link with MASTER is down",
        "is a replica that has lost its primary.",
    ),
    Fault(_FOREIGN, errors.RedisError, r"\bWRONGTYPE\b", ""),
    Fault(
        "database",
        errors.RedisError,
        "DB index is out of range|invalid DB index",
        "has no database of this number: see databases in its configuration, and redis_uri.",
    ),
    Fault(
        "database",
        errors.RedisError,
        "SELECT is not allowed in cluster mode",
        "is a node of a cluster, which has database 0 only: use redis+cluster://.",
    ),
    Fault(
        "no cluster",
        errors.RedisError,
        "cluster support disabled|(?i:unknown command .?cluster)",
        "is not a node of a cluster: use redis:// instead of redis+cluster://.",
    ),
    Fault(
        "no sentinel there",
        errors.RedisError,
        "(?i)unknown command .?sentinel",
        "is not a Sentinel: name the Sentinels and their port, mostly 26379, in redis_uri.",
    ),
    Fault(
        "moving",
        errors.RedisError,
        "^TRYAGAIN|during rehashing of slot|Multiple keys request|redirected again and again"
        "|non local key",
        "is moving these sessions to another node, and will respond when it is done. Nothing was "
        "changed.",
    ),
    Fault(
        "moving",
        errors.TryAgainError,
        "",
        "is moving these sessions to another node, and will respond when it is done. Nothing was "
        "changed.",
    ),
    Fault(
        "a cluster",
        errors.MovedError,
        "",
        "is a node of a cluster: use redis+cluster:// instead of redis://.",
    ),
    Fault(
        "cluster down",
        errors.RedisError,
        r"\bCLUSTERDOWN\b|cluster is down|Hash slot not served",
        "is down: not every slot of the cluster is served.",
    ),
    Fault("cluster down", errors.ClusterDownError, "", "is down: {said}."),
    Fault(
        "cluster down",
        errors.SlotNotCoveredError,
        "",
        "is down: no node of the cluster serves the slot of these sessions.",
    ),
    Fault(
        "full",
        errors.RedisError,
        "max number of clients reached",
        "has no room for another client: raise its maxclients.",
    ),
    Fault(
        _TOO_LARGE,
        errors.RedisError,
        "invalid bulk length|invalid multibulk length|too big",
        "does not accept so much data in one command: see proto-max-bulk-len in its configuration.",
    ),
    Fault(
        "wants tls",
        errors.InvalidResponse,
        r"x15\\x03",
        "wants TLS on this port: use rediss:// instead of redis://.",
    ),
    Fault(
        "no redis",
        errors.InvalidResponse,
        "",
        "does not speak Redis: does the port belong to another program?",
    ),
    Fault(
        "no service",
        MasterNotFoundError,
        "no such service",
        "is not known to these Sentinels: check the service's name in redis_uri.",
    ),
    Fault(
        "connect timeout",
        errors.TimeoutError,
        "connecting",
        "did not accept the connection in time (connect_timeout): it is down, cut off by a "
        "firewall, or the address is wrong.",
    ),
    Fault(
        "timeout",
        errors.TimeoutError,
        "",
        "did not answer in time (socket_timeout): it is overloaded or cut off, or the timeout is "
        "short.",
    ),
    Fault(
        "closed",
        (ConnectionResetError, BrokenPipeError),
        "",
        "closed the connection: it went down, or something between cut it; or it wants TLS there "
        "(rediss://).",
    ),
    Fault(
        "closed",
        errors.ConnectionError,
        "closed|Connection reset|Broken pipe|writing to socket",
        "closed the connection: it went down, or something between cut it; or it wants TLS there "
        "(rediss://).",
    ),
)
# Tried when nothing above fits any cause.
_UNSPECIFIC = (
    Fault("timeout", TimeoutError, "", "did not answer in time: it is overloaded or cut off."),
    Fault("down", OSError, "", "cannot be reached: {said}."),
    Fault("down", errors.ConnectionError, "", "cannot be reached: it is down, or cut off."),
)
_TELLING = re.compile(r"run the '([\w|]+)' command")


def is_elsewhere(error: Exception) -> bool:
    """Tell whether it is worth checking where the sessions are now."""
    return _name_of(error) in (
        *("replica", "few replicas", "cluster down", "lost primary", "moving"),
        *("down", "closed", "timeout", "connect timeout", "unknown host"),
    )


def may_be_repeated(error: Exception, *, harmless: bool) -> bool:
    """Tell whether sending a command again is safe and may help.

    Args:
        error: How it failed.
        harmless: Whether carrying it out twice changes no more than carrying it out once.
    """
    name = _name_of(error)
    if name in ("replica", "few replicas", "cluster down"):
        return True  # refused, and nothing was done
    # The connection broke, or could not be made: the next one may reach another server.
    was_cut = name in ("down", "closed", "unknown host")
    return was_cut and (harmless or isinstance(error, NotSentError))


def explain(error: Exception, address: str, *, harmless: bool) -> JamSessionError:
    """Return the error to raise for an error of redis-py.

    Args:
        error: What redis-py raised.
        address: The server's address.
        harmless: See `may_be_repeated`.
    """
    causes = _causes_of(error)
    fault, cause = _fault_of(causes)
    if fault is None:
        said = f"{type(cause).__name__}: {_harmless_words(str(cause))}"
        return JamStoreUnavailable(f"Redis at {address} reports an error ({said}).")
    if fault.name == _FOREIGN:
        return JamSessionCorrupt(
            f"Redis at {address}: a key under session_path holds something other than sessions. "
            "It was left as it is; use another session_path for the sessions."
        )
    if fault.name == _TOO_LARGE:
        return JamSessionDataError(f"Redis at {address} {fault.words} Nothing was stored.")
    words = fault.words.format(said=_said(cause))
    if any(isinstance(one, MasterNotFoundError) for one in causes) and fault.name != "no service":
        words = f"cannot be found: no Sentinel answers; the last one {words}"
    size = error.size if isinstance(error, NotSentError) else 0
    if size > _LARGE and fault.name in ("closed", "timeout"):
        words += f" It was being sent {size:,} bytes, which may be more than it takes at once."
    unknown = fault.name in ("closed", "down", "timeout", "no redis")
    if unknown and not harmless and not isinstance(error, NotSentError):
        words += " The operation may or may not have been carried out."
    return JamStoreUnavailable(f"Redis at {address} {words}")


def _causes_of(error: BaseException) -> list[BaseException]:
    """Return an error and its causes, innermost first.

    What the caller is handling just now is a context as well, but not a cause.
    """
    handled = sys.exc_info()[1]
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following is not handled and following not in chain:
        chain.append(following)
        hidden = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or hidden
    return chain[::-1]


def _fault_of(causes: list[BaseException]) -> tuple[Fault | None, BaseException]:
    for faults in (_FAULTS, _UNSPECIFIC):
        for cause in causes:
            for fault in faults:
                if isinstance(cause, fault.kind) and re.search(fault.said, str(cause)):
                    return fault, cause
    told = [cause for cause in causes if not isinstance(cause, NotSentError)]
    return None, told[-1] if told else causes[-1]


def _name_of(error: Exception) -> str:
    fault, _ = _fault_of(_causes_of(error))
    return fault.name if fault else ""


def _said(cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, OSError):
        return str(getattr(cause, "reason", None) or cause.strerror or cause).strip(".")
    found = _TELLING.search(str(cause))
    if found:
        return f" ({found[1]})"
    return "" if "ermission" in str(cause) else _harmless_words(str(cause))


def _harmless_words(text: str) -> str:
    """Return what a server said, up to where it begins to quote what it was sent."""
    return re.split(r"['\"`]|, with args|0x|script", text)[0].strip(" .,:")[:100]
