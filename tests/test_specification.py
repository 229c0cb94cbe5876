"""The specification's examples that need no server, as they are written there."""

from pathlib import Path
from uuid import UUID

import pytest

CONFIG = """\
[jam.session]
session_type = "json"
json_path = "sessions.json"
"""


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text(CONFIG)


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    from jam import Jam

    jam = Jam(config="config.toml")

    # Create session
    session_id = jam.session_create(session_key="user1", data={"role": "admin"})
    print(session_id)
    assert str(UUID(session_id)) == session_id == capsys.readouterr().out.strip()

    # Get session data
    data = jam.session_get(session_id=session_id)
    print(data)
    assert capsys.readouterr().out == "{'role': 'admin'}\n"

    # Update session data
    jam.session_update(session_id=session_id, data={"role": "banned"})
    assert jam.session_get(session_id=session_id) == {"role": "banned"}

    # Session rework
    new_session_id = jam.session_rework(old_session_id=session_id)
    assert jam.session_get(session_id) is None
    assert jam.session_get(new_session_id) == {"role": "banned"}

    # Delete session
    jam.session_delete(session_id=new_session_id)
    assert jam.session_get(new_session_id) is None

    # Clear all user sessions
    session_ids = [jam.session_create("user1", {}), jam.session_create("user1", {})]
    jam.session_clear(session_key="user1")
    assert [jam.session_get(session_id) for session_id in session_ids] == [None, None]
    jam.close()


def test_use_out_of_instance(capsys: pytest.CaptureFixture[str]) -> None:
    from jam.sessions.json import JSONSessions

    session = JSONSessions(
        json_path="sessions.json",
    )

    # Create session
    session_id = session.create(session_key="user1", data={"name": "John", "age": 30})
    print(session_id)
    assert str(UUID(session_id)) == session_id == capsys.readouterr().out.strip()

    # Get session data
    session_data = session.get(session_id)
    print(session_data)
    assert capsys.readouterr().out == "{'name': 'John', 'age': 30}\n"

    # Update session
    session.update(session_id=session_id, data={"name": "John", "age": 31})
    assert session.get(session_id) == {"name": "John", "age": 31}

    # Session rework
    new_session_id = session.rework(
        session_id=session_id,
    )
    assert session.get(session_id) is None
    assert session.get(new_session_id) == {"name": "John", "age": 31}

    # Delete session
    session.delete(new_session_id)
    assert session.get(new_session_id) is None

    # Clear all user sessions
    session_id = session.create("user1", {})
    session.clear(session_key="user1")
    assert session.get(session_id) is None
    session.close()


def test_arguments_out_of_instance() -> None:
    from uuid import uuid4

    from jam.encoders import JsonEncoder
    from jam.logger import JamLogger
    from jam.sessions.json import JSONSessions
    from jam.utils import generate_aes_key

    session = JSONSessions(
        json_path="sessions.json",
        is_session_crypt=True,
        session_aes_secret=generate_aes_key(),
        id_factory=lambda: str(uuid4()),
        serializer=JsonEncoder,
        logger=JamLogger(),
    )
    session_id = session.create("user1", {"name": "John"})
    assert session_id.startswith("J$_")
    assert session.get(session_id) == {"name": "John"}
    session.close()


def test_the_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from jam import Jam
    from jam.utils import generate_aes_key

    monkeypatch.setenv("JAM_SESSION_AES_SECRET", generate_aes_key().decode())
    Path("config.toml").write_text(CONFIG + "is_session_crypt = true\n")
    with Jam(config="config.toml") as jam:
        session_id = jam.session_create("user1", {"role": "admin"})
        assert jam.session_get(session_id) == {"role": "admin"}
    assert "admin" not in Path("sessions.json").read_text()


def test_a_custom_module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from jam import Jam

    Path("my_sessions.py").write_text(
        "from jam.sessions.json import JSONSessions\n\n\n"
        "class MySessions(JSONSessions):\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    Path("config.toml").write_text(
        '[jam.session]\nsession_type = "custom"\ncustom_module = "my_sessions.MySessions"\n'
    )
    with Jam(config="config.toml") as jam:
        session_id = jam.session_create("user1", {"role": "admin"})
        assert jam.session_get(session_id) == {"role": "admin"}
        assert type(jam.store).__name__ == "MySessions"
