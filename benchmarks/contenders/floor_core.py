"""The floors of the core: the Fernet calls of an operation, and the parsing of its data."""

import json
from typing import Any
from uuid import uuid4

from benchmarks.contenders.contender import Contender
from benchmarks.places import Place
from benchmarks.workload import DATA, TTL


class _FernetCalls:
    """The plain store, and before each operation the Fernet calls that encryption needs.

    They are made where the store's work has just used the processor's caches, as in real life.
    """

    def __init__(self, place: Place) -> None:
        from cryptography.fernet import Fernet
        from jam_json import JSONSessions

        self._store = JSONSessions(f"{place.directory}/fernet/sessions.json", ttl=TTL)
        cipher = Fernet(Fernet.generate_key())
        self._encrypt, self._decrypt = cipher.encrypt, cipher.decrypt
        self._id = str(uuid4()).encode()
        self._data = json.dumps(DATA).encode()
        self._stored_id, self._stored_data = cipher.encrypt(self._id), cipher.encrypt(self._data)

    def create(self, session_key: str, data: dict[str, Any]) -> str:
        self._encrypt(self._data)
        self._encrypt(self._id)
        return self._store.create(session_key, data)

    def get(self, session_id: str) -> Any:
        self._decrypt(self._stored_id)
        self._decrypt(self._stored_data)
        return self._store.get(session_id)

    def update(self, session_id: str, data: dict[str, Any]) -> None:
        self._decrypt(self._stored_id)
        self._encrypt(self._data)
        self._store.update(session_id, data)

    def touch(self, session_id: str) -> None:
        self._decrypt(self._stored_id)
        self._store.touch(session_id)

    def rework(self, session_id: str) -> str:
        self._decrypt(self._stored_id)
        self._encrypt(self._id)
        return self._store.rework(session_id)

    def delete(self, session_id: str) -> None:
        self._decrypt(self._stored_id)
        self._store.delete(session_id)

    def clear(self, session_key: str) -> None:
        self._store.clear(session_key)

    def close(self) -> None:
        self._store.close()


class _Parsing:
    """Parses what is stored; stores nothing."""

    def __init__(self, _: Place) -> None:
        self._text = json.dumps(DATA)

    def create(self, _key: str, _data: object) -> str:
        return str(uuid4())

    def get(self, _id: str) -> object:
        return json.loads(self._text)

    def update(self, _id: str, data: object) -> None:
        json.dumps(data)

    def delete(self, _id: str) -> None:
        pass

    def close(self) -> None:
        pass


FERNET = Contender(
    "floor: JSON document and Fernet calls",
    "floor",
    _FernetCalls,
    "cryptography",
    note="the plain store, and the bare calls that encryption needs",
)
JSON = Contender(
    "floor: json alone",
    "floor",
    _Parsing,
    "python",
    note="get is json.loads, update json.dumps, create uuid4; nothing stored",
    is_store=False,
)
