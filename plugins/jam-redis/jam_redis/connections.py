"""Connections to one server; everything that is sent to it goes through here."""

import threading
import time
from typing import Any, NamedTuple
from weakref import WeakSet

from redis import exceptions as errors
from redis.connection import AbstractConnection

_ASKING = b"*1\r\n$6\r\nASKING\r\n"
_LOOK_AGAIN = 0.002  # seconds; only where connections are limited and all are in use


class NotSentError(Exception):
    """The cause struck before the whole command was sent: it was not carried out.

    Attributes:
        size: How many bytes there were to send.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes could not be sent")
        self.size = size


RedisFailure = (errors.RedisError, errors.RedisClusterException, OSError, NotSentError)


class Recipe(NamedTuple):
    """How connections to a server are made.

    Attributes:
        kind: The class of redis-py.
        options: Its arguments.
        limit: How many there may be at once.
        patience: Seconds to wait for one that is free.
    """

    kind: type[AbstractConnection]
    options: dict[str, Any]
    limit: int
    patience: float = 0.0

    def at(self, host: str, port: int) -> "Recipe":
        """Return the recipe for another server that is reached in the same way."""
        return self._replace(options={**self.options, "host": host, "port": port})

    @property
    def address(self) -> str:
        """The server's address, for messages; nothing secret."""
        options = self.options
        if "path" in options:
            return str(options["path"])
        return join_address(options.get("host", "localhost"), options.get("port", 6379))


class Connections:
    """The connections to one server.

    A connection in use is known only to its user. It is kept for the next one only after a complete
    answer: after an exception, at any line, it is never used again. So no answer can be mistaken
    for another caller's, and there is no count that could go wrong.

    They are shared with nobody, even if the caller gave a client: what an application leaves unread
    on a connection of its own must not be read here as a session.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._idle: list[Any] = []
        self._all: WeakSet[Any] = WeakSet()
        self._making = threading.Lock()
        self._closed = False

    def exchange(self, packed: bytes, count: int | None = None, *, asking: bool = False) -> Any:
        """Send commands in one go and return the answers.

        Args:
            packed: The commands as they go over the wire.
            count: How many there are; the answers are then a list.
            asking: Whether they are about a slot that the server is only just taking over.

        Raises:
            NotSentError: Nothing was carried out.
            redis.RedisError: The server refused, or it is unknown what it did.
        """
        if asking:
            _, *answers = self._exchanged(_ASKING + packed, 1 + (count or 1))
            return answers if count else answers[0]
        return self._exchanged(packed, count)

    def _exchanged(self, packed: bytes, count: int | None) -> Any:
        connection: Any = None
        try:
            connection = self._take()
            connection.send_packed_command([packed])
        except RedisFailure as error:
            self._drop(connection)
            raise NotSentError(len(packed)) from error
        except BaseException:
            self._drop(connection)
            raise
        try:
            if count is None:
                answer = connection.read_response(disable_decoding=True)
            else:
                answer = _read_answers(connection, count)
        except errors.ResponseError:
            self._keep(connection)
            raise
        except BaseException:
            self._drop(connection)
            raise
        self._keep(connection)
        return answer

    def disconnect_idle(self) -> None:
        """Close idle connections, so that the next call connects again."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                return
            self._drop(connection)

    def close(self) -> None:
        """Close the idle connections now, and those in use when they are given back."""
        self._closed = True
        self.disconnect_idle()

    def _take(self) -> Any:
        give_up_at: float | None = None
        while True:
            while self._idle:
                try:
                    connection = self._idle.pop()
                except IndexError:
                    break
                if _is_quiet(connection):
                    return connection
                self._drop(connection)
            with self._making:
                connection = self._make() if len(self._all) < self._recipe.limit else None
            if connection is not None:
                return self._connect(connection)
            now = time.monotonic()
            give_up_at = give_up_at or now + self._recipe.patience
            if now >= give_up_at:
                raise errors.MaxConnectionsError("Too many connections")
            time.sleep(_LOOK_AGAIN)

    def _make(self) -> Any:
        connection = self._recipe.kind(**self._recipe.options)
        self._all.add(connection)
        return connection

    def _connect(self, connection: Any) -> Any:
        try:
            connection.connect()
        except BaseException:
            self._drop(connection)  # half set up: an answer may still be on its way
            raise
        return connection

    def _keep(self, connection: Any) -> None:
        if self._closed:
            self._drop(connection)
        else:
            self._idle.append(connection)

    def _drop(self, connection: Any) -> None:
        if connection is not None:
            self._all.discard(connection)
            connection.disconnect()


def join_address(host: object, port: object) -> str:
    """Return host and port as one string."""
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _is_quiet(connection: Any) -> bool:
    """Tell whether an idle connection is open and has nothing to read."""
    try:
        return not connection.can_read()
    except RedisFailure:
        return False


def _read_answers(connection: Any, count: int) -> list[Any]:
    """Return the answers to several commands, all read before the first refusal is raised."""
    answers: list[Any] = []
    refusals: list[errors.ResponseError] = []
    for _ in range(count):
        try:
            answers.append(connection.read_response(disable_decoding=True))
        except errors.ResponseError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    return answers
