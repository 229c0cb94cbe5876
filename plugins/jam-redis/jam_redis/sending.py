"""Sends commands, repeats them where that is safe, and explains what went wrong."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from redis.exceptions import NoPermissionError

from jam_core import PerLoop, pause
from jam_redis.clients import Server
from jam_redis.commands import Command, pack_words, parse_info
from jam_redis.connections import Connections, NotSentError, RedisFailure
from jam_redis.outage import explain, is_elsewhere, may_be_repeated
from jam_redis.topology import Topology  # noqa: TC001

_PAUSES = (0.02, 0.1, 0.3)  # seconds before a command is sent again
_INFO = pack_words(b"INFO")


class Sender:
    """Sends commands to a server, over connections of its own.

    A command is sent again, after a pause, if it certainly was not carried out: a server that is
    no longer the right one refused it, or it never got there. If the connection breaks after that,
    only harmless commands are sent again. After a timeout nothing is: the server is overloaded, or
    still carrying the command out.

    Args:
        server: Where to connect to.

    Attributes:
        address: The server's address, for messages.
    """

    def __init__(self, server: Server) -> None:
        # Each process, even one forked unseen, and each event loop has its own connections.
        self._topology: PerLoop[Topology] = PerLoop(server.open)
        self.address = server.address

    def call(self, command: Command) -> Any:
        """Return the server's answer.

        Raises:
            JamStoreUnavailable: It does not answer, or refuses to work.
        """
        try:
            return self._topology().send(command)
        except RedisFailure as error:
            failed: Exception = error
        return self._persist(
            lambda: self._topology().send(command), failed, repeatable=command.script.repeatable
        )

    def has_together(self, *keys: bytes) -> bool:
        """Tell whether one script can work with all these keys."""
        return self._topology().has_together(keys)

    def on_each_server(self, command: Callable[[int], bytes]) -> Iterator[Any]:
        """Yield the answers of every server, each asked until its answer begins with 0.

        Args:
            command: Returns the command for what the last answer began with, 0 at first.
        """
        for _, server in self._servers():
            answer = self._ask(partial(server.exchange, command(0)))
            yield answer
            while cursor := int(answer[0]):
                answer = self._ask(partial(server.exchange, command(cursor)))
                yield answer

    def info(self) -> Iterator[dict[str, str]]:
        """Yield what each server says about itself; nothing if the user is not allowed to ask."""
        for _, server in self._servers():
            yield parse_info(self._ask(partial(_info, server)))

    def on_each_slot_owner(self, command: Callable[[bytes], tuple[bytes, bytes]]) -> None:
        """Send a command to every server that owns slots, or to the one there is.

        Args:
            command: Returns a key with this hash tag, and a command about it.
        """
        for tag, _ in self._servers():
            self._ask(lambda tag=tag: self._topology().send_words(*command(tag)))  # type: ignore[misc]

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        topology = self._topology.discard()
        if topology is not None:
            topology.close()

    def _servers(self) -> list[Any]:
        servers: list[Any] = self._ask(lambda: list(self._topology().servers()))
        return servers

    def _ask(self, attempt: Callable[[], Any]) -> Any:
        try:
            return attempt()
        except RedisFailure as error:
            failed: Exception = error
        return self._persist(attempt, failed, repeatable=True)

    def _persist(self, attempt: Callable[[], Any], failed: Exception, *, repeatable: bool) -> Any:
        """Return what `attempt` returns, repeating it where that is safe and may help.

        Do not call this while handling `failed`: each later failure would have it as its context,
        and would be taken to be just as harmless.
        """
        for seconds in _PAUSES:
            if is_elsewhere(failed):
                self._topology().leave()
            if not may_be_repeated(failed, harmless=repeatable):
                break
            pause(seconds * random.uniform(0.5, 1))  # noqa: S311  (no secret)
            try:
                return attempt()
            except RedisFailure as error:
                failed = error
        cause = failed.__cause__ if isinstance(failed, NotSentError) else failed
        raise explain(failed, self.address, harmless=repeatable) from cause


def _info(server: Connections) -> bytes:
    try:
        answer: bytes = server.exchange(_INFO)
    except NoPermissionError:
        return b""
    return answer
