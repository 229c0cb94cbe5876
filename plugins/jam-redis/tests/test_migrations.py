"""Slots that move from node to node, key by key, while clients work."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from jam_redis import RedisSessions
from jam_testing import Client
from redis.crc import key_slot

from jam_core import JamStoreUnavailable, session_handle

from .servers import RedisServer, cluster, find_binary, wait_until

PAUSE = 0.003  # seconds between two keys


class Nodes:
    """The nodes of a cluster, and what moves slots between them."""

    def __init__(self, nodes: list[RedisServer], stack: ExitStack) -> None:
        self.nodes = nodes
        self.clients = [stack.enter_context(node.client()) for node in nodes]
        self._ids = [client.execute_command("CLUSTER", "MYID").decode() for client in self.clients]

    @property
    def uri(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def owner(self, slot: int) -> int:
        """Return the node that serves a slot; for a moment after a move, two may say so."""
        owners: list[int] = []

        def one_says_so() -> bool:
            owners[:] = [n for n in range(len(self.nodes)) if self._owns(n, slot)]
            return len(owners) == 1

        wait_until(one_says_so, f"one node serves slot {slot}")
        return owners[0]

    def _owns(self, node: int, slot: int) -> bool:
        ranges = self.clients[node].execute_command("CLUSTER", "SLOTS")
        return any(
            first <= slot <= last and port == self.nodes[node].port
            for first, last, (_, port, *_), *_ in ranges
        )

    def slots_of(self, path: str) -> set[int]:
        """Return the slots in which there is something under a path."""
        return {
            key_slot(key)
            for client in self.clients
            for key in client.scan_iter(match=f"*{path}*", count=1000)
        }

    @contextmanager
    def moving(self, slot: int) -> Iterator[Callable[[bytes], None]]:
        """Move a slot to the next node; what is returned moves one key of it."""
        source = self.owner(slot)
        target = (source + 1) % len(self.nodes)
        set_slot = ("CLUSTER", "SETSLOT", slot)
        self.clients[target].execute_command(*set_slot, "IMPORTING", self._ids[source])
        self.clients[source].execute_command(*set_slot, "MIGRATING", self._ids[target])

        def move(key: bytes) -> None:
            port = self.nodes[target].port
            self.clients[source].execute_command("MIGRATE", "127.0.0.1", port, key, 0, 5000)

        yield move
        while keys := self.keys_in(source, slot):
            for key in keys:
                move(key)
                time.sleep(PAUSE)
        for n in (target, source, *range(len(self.nodes))):
            self.clients[n].execute_command(*set_slot, "NODE", self._ids[target])

    def keys_in(self, node: int, slot: int) -> list[bytes]:
        keys: list[bytes] = self.clients[node].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 9)
        return keys

    def move(self, slot: int) -> None:
        with self.moving(slot):
            time.sleep(PAUSE)


@contextmanager
def nodes_of(directory: Path, name: str) -> Iterator[Nodes]:
    with cluster(directory, binary=find_binary(name)) as nodes, ExitStack() as stack:
        yield Nodes(nodes, stack)


BINARIES = [
    "redis62",
    *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("redis70", "redis8", "valkey")),
]


@pytest.fixture(scope="module", params=BINARIES)
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with nodes_of(tmp_path_factory.mktemp("moving") / "cluster", request.param) as nodes:
        yield nodes


@pytest.mark.exhaustive
@pytest.mark.parametrize("max_age", [None, 5000])
def test_nothing_is_lost_when_the_only_session_of_a_moving_slot_changes(
    nodes: Nodes, path: str, max_age: int | None
) -> None:
    """Each operation, with all keys still there, some of them, none."""
    changes: dict[str, Callable[[RedisSessions, str], Any]] = {
        "update": lambda store, session_id: store.update(session_id, {"n": 2}),
        "touch": lambda store, session_id: store.touch(session_id),
        "rework": lambda store, session_id: store.rework(session_id),
        "mutate": lambda store, session_id: store.mutate(session_id, lambda _: {"n": 2}),
        "clear_others": lambda store, session_id: store.clear_others(session_id),
        "create": lambda store, _: store.create("ann", {"n": 1}),
    }
    if max_age is None:
        changes["log-in"] = lambda store, session_id: store.rework(session_id, "bob")
        changes["log-in again"] = lambda store, session_id: store.rework(session_id, "ann")
    moves = {"rework", "log-in", "log-in again"}
    with RedisSessions(nodes.uri, path, max_age=max_age) as store:
        slot = key_slot(f"{path}:ann".encode())
        for name, change in changes.items():
            for moved in range(4):
                session_id = store.create("ann", {"n": 1})
                keys = nodes.keys_in(nodes.owner(slot), slot)
                with nodes.moving(slot) as move:
                    for key in keys[:moved]:
                        move(key)
                    name_now, data = session_id, {"n": 1}
                    with suppress(JamStoreUnavailable):  # nothing was changed then
                        told = change(store, session_id)
                        name_now = told if name in {*moves, "create"} else session_id
                        data = {"n": 2} if name in ("update", "mutate") else {"n": 1}
                    assert store.get(name_now) == data, (name, moved)
                    info = store.info(name_now)
                    assert info is not None
                    assert info.data == data
                    assert info.expires_at is not None
                    assert info.deadline is None or max_age
                assert store.get(name_now) == data, (name, moved)
                assert store.info(name_now) == info, "and so it is afterwards"
                assert (store.get(session_id) is None) == (name in moves and name_now != session_id)
                for copy in store.list_sessions("bob"):  # nobody knows its id, and it ends soon
                    if copy.handle != session_handle(name_now):
                        assert (copy.expires_at or 1e12) < info.expires_at - 3600 + 60 + 5
                store.clear("ann")
                store.clear("bob")


@pytest.mark.exhaustive
@pytest.mark.parametrize("max_age", [None, 5000])
def test_what_ends_sessions_of_a_moving_slot(nodes: Nodes, path: str, max_age: int | None) -> None:
    """Delete and clear always work; they, and revoke, never say other than what they did."""
    with RedisSessions(nodes.uri, path, max_age=max_age) as store:
        slot = key_slot(f"{path}:ann".encode())
        for moved in range(4):
            for others in range(2):
                ids = [store.create("ann", {"n": n}) for n in range(1 + others)]
                keys = nodes.keys_in(nodes.owner(slot), slot)
                with nodes.moving(slot) as move:
                    for key in keys[:moved]:
                        move(key)
                    store.delete(ids[0])
                    assert [store.get(one) for one in ids] == [None, {"n": 1}][: 1 + others]
                    store.clear("ann")
                    assert [store.get(one) for one in ids] == [None, None][: 1 + others]
                session_id = store.create("ann", {})
                (info,) = store.list_sessions("ann")
                with nodes.moving(slot):
                    try:
                        ended = store.revoke("ann", info.handle)
                    except JamStoreUnavailable:
                        ended = False
                    assert (store.get(session_id) is None) == ended
                store.clear("ann")


def test_most_sessions_change_as_ever_while_a_big_key_of_their_slot_moves(
    tmp_path: Path, path: str
) -> None:
    """Where the server expires fields, they have one key: that the others do not exist is seen."""
    with nodes_of(tmp_path / "cluster", "valkey") as nodes, RedisSessions(nodes.uri, path) as store:
        session_id = store.create("ann", {"n": 1})
        slot = key_slot(f"{path}:ann".encode())
        for moved in range(2):
            with nodes.moving(slot) as move:
                for key in nodes.keys_in(nodes.owner(slot), slot)[:moved]:
                    move(key)
                store.update(session_id, {"n": 2})
                session_id = store.rework(session_id)
                store.touch(session_id)
                assert store.mutate(session_id, lambda data: data) == {"n": 2}
                other = store.create("ann", {"n": 3})
                assert store.get(other) == {"n": 3}
                assert len(store.list_sessions("ann")) == 2
                store.delete(other)
                assert store.get(session_id) == {"n": 2}
                store.ping()


@pytest.mark.parametrize(
    ("seconds", "max_age"),
    [
        pytest.param(2, 5000, marks=pytest.mark.exhaustive),
        pytest.param(2, None, marks=pytest.mark.exhaustive),
        pytest.param(60, None, marks=pytest.mark.lengthy),
        pytest.param(60, 5000, marks=pytest.mark.lengthy),
    ],
)
def test_clients_work_while_slots_move(
    nodes: Nodes, path: str, seconds: float, max_age: int | None
) -> None:
    """What was acknowledged stays; what nobody changes is read, without a single failure."""
    # A node writes its configuration to the disk at each move, which may take long.
    with RedisSessions(nodes.uri, path, max_age=max_age, socket_timeout=30) as store:
        quiet = {store.create(f"quiet {n}", {"n": n}): {"n": n} for n in range(20)}
        clients = [Client(store, f"{path} {n}") for n in range(4)]
        reads = [0]

        def read() -> None:
            for session_id, data in quiet.items():
                assert store.get(session_id) == data
                reads[0] += 1

        moved = 0
        with working([read, *(client.step for client in clients)]) as failures:
            give_up_at = time.monotonic() + seconds
            while (time.monotonic() < give_up_at or moved <= 20) and not failures:
                for slot in nodes.slots_of(path):
                    nodes.move(slot)
                    moved += 1
        assert reads[0] > 100
        for client in clients:
            client.check_all()


@contextmanager
def working(works: list[Callable[[], object]]) -> Iterator[list[BaseException]]:
    """Do each work again and again, in a thread of its own; raise what is raised there."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
