"""Which server a command goes to: one, the primary that Sentinels name, or a cluster's node."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from redis import exceptions as errors
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.sentinel import MasterNotFoundError

from jam_core import awaited, pause
from jam_redis.commands import Command, apart, narrow, pack_words
from jam_redis.connections import Connections, NotSentError, Recipe, RedisFailure

Address = tuple[str, int]

_ASK_AGAIN = 1.0  # seconds; see "A failover" in the README
_HOPS = 16  # redirections and refusals of a slot that moves, for one command
_TRY_AGAIN = 0.05  # seconds
_REFRESH = 0.5  # seconds; until then redirections are followed one by one
_CLUSTER_SLOTS = pack_words(b"CLUSTER", b"SLOTS")


class Topology(Protocol):
    """The servers of a store, as one process sees them."""

    def send(self, command: Command) -> Any:
        """Return the answer to a command."""

    def send_words(self, key: bytes, packed: bytes) -> Any:
        """Return the answer to a plain command about a key."""

    def has_together(self, keys: Iterable[bytes]) -> bool:
        """Tell whether one script can work with all these keys."""

    def servers(self) -> Iterator[tuple[bytes, Connections]]:
        """Yield every server that has sessions, with a hash tag of a slot that it owns."""

    def leave(self) -> None:
        """Find out again where the sessions are: the last server was no use."""

    def close(self) -> None:
        """Close the connections."""


class OneServer:
    """One server."""

    def __init__(self, recipe: Recipe) -> None:
        self._connections = connections_to(recipe)

    def send(self, command: Command) -> Any:
        """See `Topology`."""
        return run(self._connections, command)

    def send_words(self, key: bytes, packed: bytes) -> Any:  # noqa: ARG002
        """See `Topology`."""
        return self._connections.exchange(packed)

    def has_together(self, keys: Iterable[bytes]) -> bool:  # noqa: ARG002
        """See `Topology`."""
        return True

    def servers(self) -> Iterator[tuple[bytes, Connections]]:
        """See `Topology`."""
        yield b"0", self._connections

    def leave(self) -> None:
        """See `Topology`."""
        self._connections.disconnect_idle()  # its name may lead to another server by now

    def close(self) -> None:
        """See `Topology`."""
        self._connections.close()


class SentinelPrimary:
    """The primary that Sentinels name. They are asked once a second, and whenever it refuses.

    For ten seconds, a primary that an operator has replaced still acknowledges writes that are
    then lost.
    """

    def __init__(self, sentinels: Sequence[Recipe], service: str, primary: Recipe) -> None:
        self._recipe = primary
        self._question = pack_words(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", service.encode())
        self._sentinels = tuple(connections_to(recipe) for recipe in sentinels)
        # While one thread waits for Sentinels that hang, the others carry on.
        self._patience = sum(_seconds_at_most(recipe) for recipe in sentinels)
        self._primary: tuple[Address, Connections] | None = None
        self._ask_at = 0.0

    def send(self, command: Command) -> Any:
        """See `Topology`."""
        return run(self._connections(), command)

    def send_words(self, key: bytes, packed: bytes) -> Any:  # noqa: ARG002
        """See `Topology`."""
        return self._connections().exchange(packed)

    def has_together(self, keys: Iterable[bytes]) -> bool:  # noqa: ARG002
        """See `Topology`."""
        return True

    def servers(self) -> Iterator[tuple[bytes, Connections]]:
        """See `Topology`."""
        yield b"0", self._connections()

    def leave(self) -> None:
        """See `Topology`."""
        self._ask_at = 0.0
        if self._primary is not None:
            self._primary[1].disconnect_idle()

    def close(self) -> None:
        """See `Topology`."""
        for connections in self._sentinels:
            connections.close()
        if self._primary is not None:
            self._primary[1].close()

    def _connections(self) -> Connections:
        known = self._primary
        if known is not None and time.monotonic() < self._ask_at:
            return known[1]
        self._ask_at = time.monotonic() + max(self._patience, _ASK_AGAIN)
        try:
            address = self._ask()
        except RedisFailure:
            if known is None:
                raise
            return known[1]
        except BaseException:
            self._ask_at = 0.0
            raise
        known = self._primary  # others may have asked meanwhile
        if known is None or known[0] != address:
            self._primary = address, connections_to(self._recipe.at(*address))
            if known is not None:
                known[1].close()
            known = self._primary
        self._ask_at = time.monotonic() + _ASK_AGAIN
        return known[1]

    def _ask(self) -> Address:
        failed: Exception | None = None
        sentinels = self._sentinels
        for sentinel in sentinels:
            try:
                answer = sentinel.exchange(self._question)
            except RedisFailure as error:
                failed = error
                continue
            if answer:
                if sentinel is not sentinels[0]:  # the next question begins with one that answers
                    self._sentinels = sentinel, *(s for s in sentinels if s is not sentinel)
                host, port = answer
                return host.decode(), int(port)
        not_found = MasterNotFoundError("no Sentinel answers" if failed else "no such service")
        not_found.__cause__ = failed
        raise NotSentError(0) from not_found


class Cluster:
    """The nodes of a cluster."""

    def __init__(
        self,
        startup: Sequence[Address],
        recipe: Recipe,
        remap: Callable[[Address], Address] | None = None,
    ) -> None:
        self._startup = tuple(startup)
        self._recipe = recipe
        self._remap = remap or (lambda address: address)
        self._nodes: dict[Address, Connections] = {}
        self._slots: list[Address | None] = []
        self._refreshed_at = 0.0

    def send(self, command: Command) -> Any:
        """See `Topology`."""
        try:
            return self._follow(command.key, lambda node, asking: run(node, command, asking=asking))
        except errors.TryAgainError as error:
            moving = error
        # The slot is moving, and some of the keys are not on the node that has the others; or they
        # do not exist, which a node that is giving a slot away cannot tell apart.
        one_by_one = apart(command)
        if one_by_one is not None:
            packed, combine = one_by_one
            return combine([self.send_words(command.key, one) for one in packed])
        for _ in range(_HOPS):
            pause(_TRY_AGAIN)
            sent = narrow(command)
            if sent is not None and any(
                self.send_words(command.key, pack_words(b"EXISTS", key)) for key in sent.absent
            ):
                sent = None
            tried = command if sent is None else sent.command
            try:
                return self._follow(
                    command.key,
                    lambda node, asking, tried=tried: run(node, tried, asking=asking),  # type: ignore[misc]
                )
            except errors.TryAgainError as error:
                moving = error
        raise moving

    def send_words(self, key: bytes, packed: bytes) -> Any:
        """See `Topology`."""
        return self._follow(key, lambda node, asking: node.exchange(packed, asking=asking))

    def has_together(self, keys: Iterable[bytes]) -> bool:
        """See `Topology`."""
        return len({key_slot(key) for key in keys}) == 1

    def servers(self) -> Iterator[tuple[bytes, Connections]]:
        """See `Topology`."""
        slots = self._slots or self._refresh()
        tags: dict[Address, bytes] = {}
        for n in range(REDIS_CLUSTER_HASH_SLOTS):
            tag = b"%d" % n
            address = slots[key_slot(tag)]
            if address is not None:
                tags.setdefault(address, tag)
        for address, tag in tags.items():
            yield tag, self._at(address)

    def leave(self) -> None:
        """See `Topology`."""
        self._slots = []

    def close(self) -> None:
        """See `Topology`."""
        for connections in list(self._nodes.values()):
            connections.close()

    def _follow(self, key: bytes, attempt: Callable[[Connections, bool], Any]) -> Any:
        """Return what an attempt on the right node returns."""
        slot = key_slot(key)
        address = (self._slots or self._refresh())[slot]
        asking = False
        for _ in range(_HOPS):
            if address is None:
                address = self._refresh()[slot]
                if address is None:
                    raise errors.SlotNotCoveredError(f"no node serves slot {slot}")
            try:
                return attempt(self._at(address), asking)
            except errors.MovedError as error:
                moved, asking = (error.host or address[0], int(error.port)), False
            except errors.AskError as error:
                address, asking = self._remap((error.host or address[0], int(error.port))), True
                continue
            except errors.ResponseError:
                raise
            except RedisFailure:
                self._ask_last(address)
                raise
            address, slots = self._remap(moved), self._slots
            if not slots or time.monotonic() - self._refreshed_at > _REFRESH:
                address = self._refresh()[slot]
            else:
                slots[slot] = address
        raise errors.TryAgainError("redirected again and again")

    def _at(self, address: Address) -> Connections:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes.setdefault(address, connections_to(self._recipe.at(*address)))
        return node

    def _refresh(self) -> list[Address | None]:
        """Ask the nodes, until one answers, which of them serves which slot."""
        failed: Exception = errors.ConnectionError("no node is known")
        for address in dict.fromkeys((*self._nodes, *self._startup)):
            try:
                answer = self._at(address).exchange(_CLUSTER_SLOTS)
            except RedisFailure as error:
                failed = error
                self._ask_last(address)
                continue
            slots: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
            for first, last, (host, port, *_), *_ in answer:
                known = host.decode() if host and host != b"?" else address[0]
                slots[first : last + 1] = [self._remap((known, port))] * (last + 1 - first)
            self._slots, self._refreshed_at = slots, time.monotonic()
            self._forget_former_nodes()
            return slots
        raise NotSentError(0) from failed

    def _ask_last(self, address: Address) -> None:
        node = self._nodes.pop(address, None)
        if node is not None:
            self._nodes[address] = node

    def _forget_former_nodes(self) -> None:
        for address in set(self._nodes) - {*self._slots, *self._startup}:
            node = self._nodes.pop(address, None)
            if node is not None:
                node.close()


def run(node: Connections, command: Command, *, asking: bool = False) -> Any:
    """Return a server's answer to a command whose script it may not know yet."""
    if command.plain and not asking:
        return node.exchange(b"".join(command.plain), len(command.plain))
    try:
        return node.exchange(command.packed(known=True), asking=asking)
    except errors.NoScriptError:
        pass
    return node.exchange(command.packed(known=False), asking=asking)


def connections_to(recipe: Recipe) -> Connections:
    """Return the connections to a server: one shared in an event loop, or one for each thread."""
    if not awaited():
        return Connections(recipe)
    from jam_redis.pipelining import SharedConnection  # redis.asyncio is slow to import

    return SharedConnection(recipe)


def _seconds_at_most(recipe: Recipe) -> float:
    options = recipe.options
    return (options.get("socket_connect_timeout") or 1.0) + (options.get("socket_timeout") or 1.0)
