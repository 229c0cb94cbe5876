"""How often the server is asked, counted by the server: MONITOR."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import pytest
from jam_redis import RedisSessions
from redis import Redis
from redis.connection import AbstractConnection

from jam_core import JamSessionNotFound, generate_aes_key, session_handle

from .servers import RedisServer


class Count:
    """How many commands clients sent while one was looking; what scripts call is not counted."""

    def __init__(self, servers: list[RedisServer]) -> None:
        self._servers = servers
        self._mark = f"mark {uuid4()}"

    def __call__(self, action: Callable[[], Any]) -> list[str]:
        with ExitStack() as stack:
            watches = [self._watch(stack, server) for server in self._servers]
            action()
            return [name for client, seen in watches for name in self._until_mark(client, seen)]

    @staticmethod
    def _watch(stack: ExitStack, server: RedisServer) -> tuple[Redis, Iterator[Any]]:
        client = stack.enter_context(server.client(single_connection_client=True))
        return client, stack.enter_context(server.client().monitor()).listen()

    def _until_mark(self, client: Redis, seen: Iterator[Any]) -> Iterator[str]:
        client.echo(self._mark)
        for entry in seen:
            if entry["command"].endswith(self._mark):
                return
            if entry["client_type"] != "lua":
                yield entry["command"].partition(" ")[0].upper()


@contextmanager
def store_on(server: RedisServer, path: str, **options: Any) -> Iterator[RedisSessions]:
    with RedisSessions(server.uri, path, **options) as store:
        use_everything(store)
        yield store


def use_everything(store: RedisSessions) -> None:
    """Open the connection and teach the server every script."""
    session_id = store.rework(store.create("warm up", {"n": 1}))
    store.get(session_id)
    store.update(session_id, {}, seen=store.info(session_id))
    store.touch(session_id)
    session_id = store.rework(session_id, "warm up", ttl=60)
    store.update(session_id, {})
    store.mutate(session_id, lambda data: data)
    store.clear_others(session_id)
    (info,) = store.list_sessions("warm up")
    store.revoke("warm up", info.handle)
    store.delete(session_id)
    store.clear("warm up")


OPERATIONS: dict[str, Callable[[RedisSessions, str], Any]] = {
    "create": lambda store, _: store.create("ann", {"n": 2}),
    "get": lambda store, session_id: store.get(session_id),
    "info": lambda store, session_id: store.info(session_id),
    "update": lambda store, session_id: store.update(session_id, {"n": 2}),
    "touch": lambda store, session_id: store.touch(session_id),
    "rework": lambda store, session_id: store.rework(session_id),
    "log-in": lambda store, session_id: store.rework(session_id, "bob", ttl=60),
    "delete": lambda store, session_id: store.delete(session_id),
    "clear": lambda store, _: store.clear("ann"),
    "ping": lambda store, _: store.ping(),
    "list_sessions": lambda store, _: store.list_sessions("ann"),
    "clear_others": lambda store, session_id: store.clear_others(session_id),
}


def commands_of(operation: str, server: RedisServer) -> list[str]:
    """Return what is sent, in one go: plain commands only to servers that expire fields."""
    with server.client() as client:
        expires_fields = "hpexpire" in client.command()
    plain = {"get": ["ZSCORE", "HGET"], "delete": ["HDEL", "ZREM", "HDEL"]}
    return plain.get(operation, ["EVALSHA"]) if expires_fields else ["EVALSHA"]


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "max_age": {"max_age": 7200},
    "no ttl": {"ttl": None},
    "encrypted": {"is_session_crypt": True, "session_aes_secret": generate_aes_key()},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_one_round_trip(
    server: RedisServer, path: str, operation: str, options: dict[str, Any]
) -> None:
    with store_on(server, path, **options) as store:
        session_id = store.create("ann", {"n": 1})
        commands = Count([server])(lambda: OPERATIONS[operation](store, session_id))
        if operation == "ping":
            assert len(commands) == 1, commands
        else:
            assert commands == commands_of(operation, server)


def test_several_commands_are_sent_in_one_go(
    server: RedisServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    with store_on(server, path) as store:
        session_id = store.create("ann", {"n": 1})
        send = AbstractConnection.send_packed_command

        def count(connection: AbstractConnection, command: Any, **options: Any) -> None:
            sent.append(command)
            send(connection, command, **options)  # type: ignore[no-untyped-call]

        monkeypatch.setattr(AbstractConnection, "send_packed_command", count)
        store.get(session_id)
        assert len(sent) == 1
        store.delete(session_id)
        assert len(sent) == 2


def test_mutate_is_two_round_trips(server: RedisServer, path: str) -> None:
    with store_on(server, path) as store:
        session_id = store.create("ann", {"n": 1})
        commands = Count([server])(lambda: store.mutate(session_id, lambda _: {"n": 2}))
        assert commands == [*commands_of("get", server), "EVALSHA"]


def test_revoke_is_two_round_trips(server: RedisServer, path: str) -> None:
    with store_on(server, path) as store:
        handle = session_handle(store.create("ann", {"n": 1}))
        commands = Count([server])(lambda: store.revoke("ann", handle))
        assert len(commands) == 2, commands


def test_an_end_that_an_older_server_kept_costs_more_only_once(
    valkey: RedisServer, path: str
) -> None:
    with RedisSessions(valkey.uri, path) as knows_nothing:
        knows_nothing.get("ann:1")  # the server learns the script
    with store_on(valkey, path) as store, valkey.client() as client:
        client.hset(f"{path}:ann", "ann:1", "{}")
        client.zadd(f"{{{path}:ann}}:expires", {"ann:1": 10**14})
        count = Count([valkey])
        assert count(lambda: store.get("ann:1")) == ["ZSCORE", "HGET", "EVALSHA"]
        assert count(lambda: store.get("ann:1")) == ["EVALSHA"]
        store.touch("ann:1")  # brings the end to where the server keeps it now
        assert count(lambda: store.get("ann:1")) == ["ZSCORE", "HGET"]


def test_a_miss_costs_no_more(server: RedisServer, path: str) -> None:
    with store_on(server, path) as store:
        assert Count([server])(lambda: store.get("ann:gone")) == commands_of("get", server)
        assert Count([server])(lambda: store.delete("ann:gone")) == commands_of("delete", server)

        def update() -> None:
            with pytest.raises(JamSessionNotFound):
                store.update("ann:gone", {})

        assert len(Count([server])(update)) == 1


@pytest.mark.parametrize("session_id", ["", "no colon", ":id", "ann:"])
def test_what_is_no_id_is_not_asked_about(redis62: RedisServer, path: str, session_id: str) -> None:
    with store_on(redis62, path) as store:

        def ask() -> None:
            assert store.get(session_id) is None
            store.delete(session_id)

        assert Count([redis62])(ask) == []


def test_forged_ids_are_not_asked_about(redis62: RedisServer, path: str) -> None:
    with store_on(redis62, path, **OPTIONS["encrypted"]) as store:
        assert Count([redis62])(lambda: store.get("ann:an id that is not encrypted")) == []


def test_one_round_trip_in_a_cluster(cluster_nodes: list[RedisServer], path: str) -> None:
    uri = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster_nodes)
    with RedisSessions(uri, path) as store:
        use_everything(store)
        for name, operation in OPERATIONS.items():
            if name in ("ping", "log-in"):
                continue
            session_id = store.create("warm up", {"n": 1})
            commands = Count(cluster_nodes)(lambda op=operation, i=session_id: op(store, i))  # type: ignore[misc]
            # Whatever node serves "ann" has not seen each script yet.
            assert len([name for name in commands if name == "EVALSHA"]) == 1, commands
        assert len(Count(cluster_nodes)(store.ping)) == len(cluster_nodes)


def test_a_log_in_in_a_cluster_is_one_round_trip_within_a_slot(
    cluster_nodes: list[RedisServer], path: str
) -> None:
    uri = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in cluster_nodes)
    with RedisSessions(uri, path) as store:
        use_everything(store)
        for user, round_trips in (("ann {a}", 1), ("bob", 4)):
            session_id = store.create("visitor {a}", {})
            commands = Count(cluster_nodes)(lambda i=session_id, u=user: store.rework(i, u))  # type: ignore[misc]
            assert len([name for name in commands if name == "EVALSHA"]) == round_trips, commands


def test_a_flushed_script_cache_is_not_noticed(server: RedisServer, path: str) -> None:
    with store_on(server, path) as store:
        session_id = store.create("ann", {"n": 1})
        for name, operation in OPERATIONS.items():
            if name not in ("delete", "clear"):
                with server.client() as client:
                    client.script_flush()
                answer = operation(store, session_id)
                session_id = answer if name in ("rework", "log-in") else session_id
        assert store.get(session_id) == {"n": 2}


def test_the_first_call_of_a_new_store_is_one_round_trip_more_at_most(
    server: RedisServer, path: str
) -> None:
    with server.client() as client:
        client.script_flush()
    with RedisSessions(server.uri, path) as store:
        commands = Count([server])(lambda: store.create("ann", {}))
        assert [name for name in commands if name != "CLIENT"] == ["EVALSHA", "EVAL"]


def test_a_server_s_kind_is_known_after_one_write(server: RedisServer, path: str) -> None:
    with RedisSessions(server.uri, path) as store, server.client() as client:
        store.create("ann", {})
        kept = list(client.scan_iter(match=f"*{path}*", count=1000))
        assert len(kept) == (1 if "hpexpireat" in client.command() else 2)
