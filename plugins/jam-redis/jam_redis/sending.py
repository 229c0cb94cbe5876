"""Sends commands: the only module that talks to the server."""

import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from redis import Redis, RedisCluster
from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

from jam_redis.clients import Client, Server, address_of, close_client
from jam_redis.commands import Command
from jam_redis.outage import RedisFailure, explain, was_cut_off, was_refused

_PAUSES = (0.02, 0.1, 0.3)  # seconds before a command is sent again
_RAW = {"NEVER_DECODE": True}  # bytes, whatever decode_responses says: not all is UTF-8


class Sender:
    """Sends commands over a client: its own, or the caller's.

    A command is sent again, after a pause, if the connection broke and it may be repeated, or if
    a replica refused it. A timeout is not: the server is overloaded, or does what it was told.

    Args:
        source: What to connect to, or a client of the caller's.

    Attributes:
        address: The server's address, for messages.
    """

    def __init__(self, source: Server | Client) -> None:
        self._server = source if isinstance(source, Server) else None
        self._client: Any = None
        if not isinstance(source, Server):
            self._use(source)
        self.address = source.address if isinstance(source, Server) else address_of(source)

    def call(self, command: Command) -> Any:
        """Return the server's answer.

        Raises:
            JamStoreUnavailable: It does not answer, or refuses to work.
        """
        try:
            return self._send(command)
        except RedisFailure as error:
            failed: Exception = error
        repeat = partial(self._send, command)
        return self._persist(repeat, failed, repeatable=command.script.repeatable)

    def on_each_server(self, command: Callable[[int], tuple[Any, ...]]) -> Iterator[Any]:
        """Yield the answers of every server, each asked until its answer begins with 0.

        Args:
            command: Returns the command for what the last answer began with, 0 at first.
        """
        for server in self._ask(self._servers):
            answer = self._ask(partial(server.execute_command, *command(0), **_RAW))
            yield answer
            while cursor := int(answer[0]):
                answer = self._ask(partial(server.execute_command, *command(cursor), **_RAW))
                yield answer

    def info(self) -> Iterator[dict[str, Any]]:
        """Yield what each server says of itself; nothing where the user may not ask."""
        for server in self._ask(self._servers):
            yield self._ask(partial(_info, server))

    def on_each_slot_owner(self, command: Callable[[bytes], tuple[Any, ...]]) -> None:
        """Send a command to every server that owns slots, or to the one there is.

        Args:
            command: Returns the command with a key that has this hash tag.
        """
        for tag in self._ask(self._tags):
            self._ask(partial(self._execute, *command(tag)))

    def close(self) -> None:
        """Close the connections of its own; a later call opens new ones."""
        if self._server is not None and self._client is not None:
            client, self._client = self._client, None
            close_client(client)

    def _connected(self) -> Any:
        client = self._client
        if client is None and self._server is not None:
            client = self._server.connect()
            self._use(client)
        return client

    def _use(self, client: Any) -> None:
        # Asked once: it is no cheap question.
        is_cluster = isinstance(client, RedisCluster)
        self._transmit = _send_to_cluster if is_cluster else _send_to_server
        self._client = client

    def _ask(self, attempt: Callable[[], Any]) -> Any:
        try:
            return attempt()
        except RedisFailure as error:
            failed: Exception = error
        return self._persist(attempt, failed, repeatable=True)

    def _persist(self, attempt: Callable[[], Any], failed: Exception, *, repeatable: bool) -> Any:
        """Return what `attempt` returns, trying it again where that is safe and may help.

        Not to be called where `failed` is handled: each later failure would have it as its
        context, and be taken for as harmless.
        """
        for pause in _PAUSES:
            refused = was_refused(failed)
            if refused:
                self._leave_server()
            # A client of the caller's has connected anew as often as its owner wants it to.
            again = repeatable and self._server is not None and was_cut_off(failed)
            if not refused and not again:
                break
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  (no secret)
            try:
                return attempt()
            except RedisFailure as error:
                failed = error
        raise explain(failed, self.address) from failed

    def _send(self, command: Command) -> Any:
        client = self._client or self._connected()
        try:
            return self._transmit(client, command, known=True)
        except NoScriptError:
            return self._transmit(client, command, known=False)

    def _execute(self, *raw: Any) -> Any:
        return self._connected().execute_command(*raw, **_RAW)

    def _leave_server(self) -> None:
        """Have idle connections made anew: what was the primary is a replica now."""
        if isinstance(self._client, Redis):
            self._client.connection_pool.disconnect(inuse_connections=False)

    def _servers(self) -> list[Any]:
        client = self._connected()
        if isinstance(client, RedisCluster):
            return [client.get_redis_connection(node) for node in client.get_primaries()]
        return [client]

    def _tags(self) -> list[bytes]:
        client = self._connected()
        if not isinstance(client, RedisCluster):
            return [b"0"]
        owners = {client.get_node_from_key(b"%d" % n).name: b"%d" % n for n in range(1000)}
        return list(owners.values())


def _info(server: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = server.info()
    except NoPermissionError:
        return {}
    return answer


def _send_to_server(client: Any, command: Command, *, known: bool) -> Any:
    """Send a command once.

    `Redis.execute_command` would repeat it as the caller's client is set to, also what must not
    be repeated; and it takes its time.
    """
    if client.connection is not None:
        with client.single_connection_lock:
            return _exchange(client.connection, command, known=known)
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        return _exchange(connection, command, known=known)
    finally:
        pool.release(connection)


def _exchange(connection: Any, command: Command, *, known: bool) -> Any:
    try:
        if command.plain:
            connection.send_packed_command([b"".join(command.plain)])
            return _read_answers(connection, len(command.plain))
        connection.send_packed_command([command.packed(known=known)])
        return connection.read_response(disable_decoding=True)
    except ResponseError:
        raise
    except BaseException:
        connection.disconnect()  # an answer that is still to come is not the next command's
        raise


def _read_answers(connection: Any, count: int) -> list[Any]:
    """Return the answers to several commands, all read before the first refusal is raised."""
    answers: list[Any] = []
    refusals: list[ResponseError] = []
    for _ in range(count):
        try:
            answers.append(connection.read_response(disable_decoding=True))
        except ResponseError as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]
    return answers


def _send_to_cluster(client: Any, command: Command, *, known: bool) -> Any:
    raw = command.words(known=known)
    if command.script.repeatable:
        return client.execute_command(*raw, **_RAW)
    # redis-py does not repeat what it is told where to send.
    node = client.get_node_from_key(command.key)
    return client.execute_command(*raw, target_nodes=node, **_RAW)
