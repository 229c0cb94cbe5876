"""The oldest psycopg that this distribution says it works with, in an environment of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]
SCRIPT = """
import sys
import psycopg
from jam_sqlalchemy import SQLAlchemySessions
from jam_core import JamStoreUnavailable
from jam_testing import TCPProxy

floor, socket, url = sys.argv[1:]
assert psycopg.__version__ == floor
with TCPProxy(socket) as proxy:
    limit = {"read_timeout": 1}
    store = SQLAlchemySessions(url.replace("PORT", str(proxy.port)), connect_args=limit)
    session_id = store.create("ann", {"n": 1})
    store.update(session_id, {"n": 2})
    assert store.get(session_id) == {"n": 2}
    proxy.hang()
    try:
        store.get(session_id)
    except JamStoreUnavailable as error:
        print(error.message)
"""


def done(*command: str | Path) -> str:
    ran = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.exhaustive
def test_the_oldest_psycopg_that_is_allowed_keeps_to_its_limit(
    tmp_path: Path, postgresql_url: str
) -> None:
    (floor,) = re.findall(r'"psycopg\[binary\]>=([\d.]+)"', (HERE / "pyproject.toml").read_text())
    done(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    parts = [f"-e{ROOT}", f"-e{ROOT}/plugins/jam-testing", f"-e{HERE}"]
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    done(*pip, f"psycopg[binary]=={floor}", *parts)
    url = make_url(postgresql_url)
    socket = f"{url.query['host']}/.s.PGSQL.{url.port or 5432}"
    over_proxy = f"{url.drivername}://{url.username}:{url.password or ''}@127.0.0.1:PORT"
    said = done(python, "-c", SCRIPT, floor, socket, f"{over_proxy}/{url.database}")
    assert "did not answer within read_timeout" in said
