"""Running the tests: side by side, with servers that they share, whatever happens to those."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.isolated import ROOT

KILLED = """
import os, signal
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import create_engine, text


def test_redis_is_killed(redis_uri):
    with Redis.from_url(redis_uri) as client:
        os.kill(client.info("server")["process_id"], signal.SIGKILL)
        with pytest.raises(Exception):
            client.ping()


def test_postgresql_is_killed(postgresql_url):
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        directory = connection.execute(text("SHOW data_directory")).scalar_one()
    engine.dispose()
    os.kill(int(Path(directory, "postmaster.pid").read_text().split()[0]), signal.SIGKILL)


@pytest.mark.parametrize("n", range(3))
def test_needs_redis(redis_uri, n):
    pass


@pytest.mark.parametrize("n", range(3))
def test_needs_postgresql(postgresql_url, n):
    pass


def test_needs_neither():
    pass
"""
ENDLESS = """
import time
from pathlib import Path
from sqlalchemy import create_engine, text


def test_takes_long(postgresql_url):
    with create_engine(postgresql_url).connect() as connection:
        directory = connection.execute(text("SHOW data_directory")).scalar_one()
    print(Path(directory, "postmaster.pid").read_text().split()[0], flush=True)
    time.sleep(60)
"""
PYTEST = (sys.executable, "-m", "pytest", "-p", "tests.servers", "-p", "no:cacheprovider")


@pytest.mark.exhaustive
def test_a_server_that_dies_fails_the_tests_that_need_it_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "test_killed.py").write_text(KILLED)
    ran = subprocess.run(
        [*PYTEST, "-rA"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in ran.stdout.splitlines() if line.startswith(("PASSED t", "ERROR t"))]
    for name, server in (("redis", "Redis"), ("postgresql", "PostgreSQL")):
        assert f"PASSED test_killed.py::test_{name}_is_killed" in said
        for n in range(3):
            (line,) = (line for line in said if f"test_needs_{name}[{n}]" in line)
            assert line.startswith("ERROR ")
            assert f"The {server} of the wheel is dead" in line
    assert "PASSED test_killed.py::test_needs_neither" in said
    assert "Traceback" not in ran.stdout


@pytest.mark.exhaustive
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM], ids=["KILL", "TERM"])
def test_a_server_does_not_outlive_tests_that_are_killed(tmp_path: Path, sent: int) -> None:
    (tmp_path / "test_endless.py").write_text(ENDLESS)
    with subprocess.Popen(
        [*PYTEST, "-q", "-s"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stdout
        server = int(running.stdout.readline())
        os.killpg(running.pid, sent)
    give_up_at = time.monotonic() + 10
    while is_alive(server):
        assert time.monotonic() < give_up_at, "the server has outlived the tests"
        time.sleep(0.01)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.exhaustive
def test_the_ids_of_the_tests_are_the_same_in_every_run() -> None:
    """Otherwise nobody could run them side by side."""
    runs = [
        subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", ""],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[:-1]
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 1000
