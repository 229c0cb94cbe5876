"""A connection that breaks after the server did as it was told: what is sent again, what not."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from jam_redis import RedisSessions
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError
from redis.retry import Retry

from jam_core import JamStoreUnavailable

from .servers import REDIS_62, RedisServer, wait_until

UNKNOWN = "closed the connection.* may or may not have been carried out"


class CuttingProxy:
    """Passes commands on; when told to, breaks the connection in the place of the next answer.

    Or, first, answers in the server's place that it is a replica, as a demoted primary does.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        self.refusals = 0
        self.then: Callable[[], object] = lambda: None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self._target) as server:
            while command := client.recv(1 << 16):
                if b"EVALSHA" in command and self.refusals:
                    self.refusals -= 1
                    client.sendall(b"-READONLY You can't write against a read only replica.\r\n")
                    continue
                server.sendall(command)
                answer = server.recv(1 << 16)
                if b"EVALSHA" in command and self.cuts:
                    self.cuts -= 1
                    self.then()
                    self.then = lambda: None
                    return
                client.sendall(answer)


@pytest.fixture
def proxy(redis62: RedisServer) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(redis62.port)
    yield proxy
    proxy.close()


@pytest.fixture(params=["own client", "caller's client"])
def store(
    request: pytest.FixtureRequest, proxy: CuttingProxy, path: str
) -> Iterator[RedisSessions]:
    """A store, also on a client that would repeat whatever it is told."""
    if request.param == "own client":
        with RedisSessions(f"redis://127.0.0.1:{proxy.port}", path) as store:
            yield store
    else:
        retry = Retry(NoBackoff(), 5)
        with Redis(port=proxy.port, protocol=2, retry=retry) as client:
            yield RedisSessions(client, path)


def test_mutate_changes_nothing_twice(proxy: CuttingProxy, store: RedisSessions) -> None:
    session_id = store.create("ann", {"n": 1})
    store.mutate(session_id, lambda data: data)

    def increase(data: dict[str, int]) -> dict[str, int]:
        proxy.cuts = 1
        return {"n": data["n"] + 1}

    with pytest.raises(JamStoreUnavailable):
        store.mutate(session_id, increase)
    assert store.get(session_id) == {"n": 2}


def test_create_and_rework_are_not_sent_again(
    redis62: RedisServer, path: str, proxy: CuttingProxy, store: RedisSessions
) -> None:
    session_id = store.rework(store.create("ann", {}))
    with redis62.client() as client:
        proxy.cuts = 1
        with pytest.raises(JamStoreUnavailable, match=UNKNOWN):
            store.create("ann", {})
        assert client.hlen(f"{path}:ann") == 2, "it was carried out once"
        proxy.cuts = 1
        with pytest.raises(JamStoreUnavailable, match=UNKNOWN):
            store.rework(session_id)
        assert client.hlen(f"{path}:ann") == 2


def test_what_a_replica_refused_is_sent_again_but_not_what_was_cut_off_then(
    redis62: RedisServer, path: str, proxy: CuttingProxy, store: RedisSessions
) -> None:
    """A failover: the old primary refuses, the new one obeys, and the connection breaks."""
    session_id = store.rework(store.create("ann", {"n": 1}))
    store.mutate(session_id, lambda data: data)
    proxy.refusals = 1
    store.create("bob", {})

    def increase(data: dict[str, int]) -> dict[str, int]:
        proxy.refusals = proxy.cuts = 1
        return {"n": data["n"] + 1}

    with pytest.raises(JamStoreUnavailable, match=UNKNOWN):
        store.mutate(session_id, increase)
    assert store.get(session_id) == {"n": 2}, "changed once"
    operations: list[Callable[[], object]] = [
        lambda: store.create("ann", {}),
        lambda: store.rework(session_id),
    ]
    with redis62.client() as client:
        for operation in operations:
            proxy.refusals = proxy.cuts = 1
            with pytest.raises(JamStoreUnavailable, match=UNKNOWN):
                operation()
            assert client.hlen(f"{path}:ann") == 2, "carried out once"


def test_nothing_is_sent_again_because_of_what_the_caller_is_handling(
    redis62: RedisServer, path: str, proxy: CuttingProxy, store: RedisSessions
) -> None:
    store.create("ann", {})
    with redis62.client() as client:

        def create() -> None:
            try:
                client.execute_command("EVAL", "return redis.error_reply('READONLY')", 0)
            except ReadOnlyError:
                proxy.cuts = 1
                store.create("ann", {})

        with pytest.raises(JamStoreUnavailable, match=UNKNOWN):
            create()
        assert client.hlen(f"{path}:ann") == 2


def test_an_update_is_not_sent_again_lest_it_undo_another_s(
    redis62: RedisServer, path: str, proxy: CuttingProxy, store: RedisSessions
) -> None:
    session_id = store.create("ann", {"role": "admin"})
    store.update(session_id, {"role": "admin", "n": 0})
    with RedisSessions(redis62.uri, path) as other:

        def ban() -> None:
            other.mutate(session_id, lambda data: {**data, "role": "banned"})

        proxy.cuts, proxy.then = 1, ban
        with pytest.raises(JamStoreUnavailable, match=UNKNOWN):
            store.update(session_id, {"role": "admin", "n": 1})
        assert other.get(session_id) == {"role": "banned", "n": 1}, "carried out once, before"


def test_clear_is_not_sent_again_lest_it_end_a_new_session(
    redis62: RedisServer, path: str, proxy: CuttingProxy, store: RedisSessions
) -> None:
    kept = store.create("bob", {})
    store.clear_others(kept)
    store.clear("ann")
    with RedisSessions(redis62.uri, path) as other:
        for end, key in (
            (lambda: store.clear("ann"), "ann"),
            (lambda: store.clear_others(kept), "bob"),
        ):
            store.create(key, {})
            new: list[str] = []
            proxy.cuts, proxy.then = 1, lambda key=key, new=new: new.append(other.create(key, {}))  # type: ignore[misc]
            with pytest.raises(JamStoreUnavailable, match=UNKNOWN):
                end()
            assert [other.get(session_id) for session_id in new] == [{}]


def test_what_certainly_was_not_carried_out_is_sent_again(
    redis_on: Callable[..., RedisServer], path: str
) -> None:
    """The server was away for a moment: nothing could be sent to it."""
    server = redis_on(REDIS_62, None, "--appendonly", "yes")
    with RedisSessions(server.uri, path) as store:
        session_id = store.create("ann", {"n": 1})
        server.kill()
        helper = threading.Thread(target=redis_on, args=(REDIS_62, server, "--appendonly", "yes"))
        helper.start()
        try:
            wait_until(lambda: carried_out(lambda: store.update(session_id, {"n": 2})), "it works")
        finally:
            helper.join()
        assert store.get(session_id) == {"n": 2}


def carried_out(operation: Callable[[], object]) -> bool:
    try:
        operation()
    except JamStoreUnavailable as error:
        return "may or may not" in str(error)  # which would be wrong: the test sees it
    return True


def test_what_may_be_sent_again_is(proxy: CuttingProxy, path: str) -> None:
    with RedisSessions(f"redis://127.0.0.1:{proxy.port}", path) as store:
        session_id, other = store.create("ann", {"n": 1}), store.create("ann", {})
        store.touch(session_id)
        store.delete(other)
        operations: list[Callable[[], object]] = [
            lambda: store.get(session_id),
            lambda: store.touch(session_id),
            lambda: store.delete(other),
        ]
        for operation in operations:
            proxy.cuts = 2
            operation()
            assert proxy.cuts == 0
        proxy.cuts = 9
        with pytest.raises(JamStoreUnavailable):
            store.get(session_id)
        assert proxy.cuts == 5, "three times more, and no more"
