"""The contract suite on stores that stand on `DocumentSessions`."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from jam_testing import BreakBackend, Damage, SessionContract, Snapshot, StoreFactory
from jam_testing.concurrency import in_threads
from jam_testing.timekeeping import wait_until

from jam_core import DocumentSessions, JamStoreUnavailable, hash_id
from tests.document_stores import Shelf, ShelfSessions, TableSessions

NATS = "nats://127.0.0.1:4222"


def damage_in(store: DocumentSessions) -> Damage:
    """Return what makes the entry of a session in its document undecodable."""

    def damage(session_id: str) -> None:
        name = f"s.{session_id.partition('.')[0]}"
        found = store.load(name)
        assert found is not None
        document = json.loads(found[0])
        document["sessions"][hash_id(session_id)]["text"] = "damaged"
        assert store.swap(name, json.dumps(document), found[1])

    return damage


class TestShelfSessions(SessionContract):
    @pytest.fixture
    def shelf(self) -> Shelf:
        return Shelf()

    @pytest.fixture
    def is_down(self) -> list[bool]:
        return []

    @pytest.fixture
    def store_factory(self, shelf: Shelf, is_down: list[bool]) -> StoreFactory:
        def before(kind: str, name: str) -> None:
            if is_down:
                raise JamStoreUnavailable

        return lambda **options: ShelfSessions(shelf, before, **options)

    @pytest.fixture
    def snapshot(self, shelf: Shelf) -> Snapshot:
        return lambda: {name: text for name, (text, _) in shelf.values.items()}

    @pytest.fixture
    def damage(self, shelf: Shelf) -> Damage:
        return damage_in(ShelfSessions(shelf))

    @pytest.fixture
    def break_backend(self, is_down: list[bool]) -> BreakBackend:
        @contextmanager
        def broken() -> Iterator[None]:
            is_down.append(True)
            try:
                yield
            finally:
                is_down.clear()

        return broken


@pytest.mark.exhaustive
class TestTableSessions(SessionContract):
    @pytest.fixture
    def store_factory(self, tmp_path: Path) -> StoreFactory:
        return lambda **options: TableSessions(str(tmp_path / "table.db"), **options)

    @pytest.fixture
    def damage(self, tmp_path: Path) -> Damage:
        return damage_in(TableSessions(str(tmp_path / "table.db")))


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def nats_factory() -> Iterator[StoreFactory]:
    """Open stores in a bucket of its own in NATS."""
    pytest.importorskip("nats", reason="nats-py is not installed")
    if not answers(4222):
        pytest.skip("no NATS server answers on 127.0.0.1:4222")
    from tests.document_servers import NatsSessions, remove_bucket

    bucket = f"jam-tests-{uuid4().hex}"
    yield lambda **options: NatsSessions(NATS, bucket, **options)
    remove_bucket(NATS, bucket)


@pytest.fixture(scope="module")
def memcached() -> Iterator[str]:
    """Start memcached and return its address."""
    pytest.importorskip("pymemcache", reason="pymemcache is not installed")
    program = shutil.which("memcached")
    if program is None:
        pytest.skip("there is no memcached on this machine")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([program, "-l", "127.0.0.1", "-p", str(port), "-u", "nobody"])
    try:
        wait_until(lambda: answers(port), "memcached answers")
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def memcached_factory(memcached: str) -> StoreFactory:
    """Open stores under a prefix of its own in memcached."""
    from tests.document_servers import MemcachedSessions

    prefix = f"{uuid4()}:"
    return lambda **options: MemcachedSessions(memcached, prefix, **options)


@pytest.mark.exhaustive
class TestNatsSessions(SessionContract):
    @pytest.fixture
    def store_factory(self, nats_factory: StoreFactory) -> StoreFactory:
        return nats_factory


@pytest.mark.exhaustive
class TestMemcachedSessions(SessionContract):
    @pytest.fixture
    def store_factory(self, memcached_factory: StoreFactory) -> StoreFactory:
        return memcached_factory


@pytest.mark.parametrize("server", ["nats", "memcached"])
def test_a_server_carries_a_log_in_out(server: str, request: pytest.FixtureRequest) -> None:
    open_store: StoreFactory = request.getfixturevalue(f"{server}_factory")
    first, second = open_store(), open_store()
    data = {"text": "x" * 1_500_000}
    for rounds in range(20):
        visitor = first.create("visitor", data if rounds == 0 else {"n": rounds})
        outcomes = in_threads(
            [
                lambda visitor=visitor: first.rework(visitor, "ann"),  # type: ignore[misc]
                lambda visitor=visitor: second.rework(visitor, "ann"),  # type: ignore[misc]
            ]
        )
        (user,) = (one for one in outcomes if isinstance(one, str))
        assert second.get(visitor) is None
        assert second.get(user) == (data if rounds == 0 else {"n": rounds})
    assert len(first.list_sessions("ann")) == 20
    assert second.clear_others(user) == 19
    first.clear("ann")
    assert second.get(user) is None
    first.ping()
    if "records" in first.capabilities:
        assert list(second.records()) == []
    first.close()
    second.close()
