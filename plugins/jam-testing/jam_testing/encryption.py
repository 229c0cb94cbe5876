"""With is_session_crypt: a forged id opens no session, and keys can be rotated."""

import base64
from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar

import pytest

from jam_core import (
    BaseEncoder,
    BaseSession,
    JamSessionCorrupt,
    JamSessionEmptyAESKey,
    JamSessionInvalidAESKey,
    JamSessionNotFound,
    JsonEncoder,
    generate_aes_key,
)
from jam_core.hosting import RECORDS
from jam_testing.fixtures import (
    DATA,
    KEY,
    PRIVATE,
    Snapshot,
    StoreContract,
    StoreFactory,
    Watch,
)
from jam_testing.promises import promise
from jam_testing.records import records_of


class CountingEncoder(BaseEncoder):
    """Counts how often something is decoded."""

    decoded: ClassVar[list[object]] = []

    @classmethod
    def dumps(cls, var: dict[str, Any]) -> bytes:
        """Write JSON."""
        return JsonEncoder.dumps(var)

    @classmethod
    def loads(cls, var: str | bytes) -> dict[str, Any]:
        """Read JSON, and count."""
        cls.decoded.append(var)
        return JsonEncoder.loads(var)


def spellings(text: str) -> list[str]:
    """Return a string, and what can be seen of it in base64 or hexadecimal."""
    found = [text, text.encode().hex()]
    for before in range(3):
        encoded = base64.b64encode(b"." * before + text.encode()).decode()
        # The characters at both ends depend on what is next to the string.
        inner = encoded[4 if before else 0 : -4]
        found += [inner, inner.replace("+", "-").replace("/", "_")]
    return found


class EncryptionContract(StoreContract):
    """Ids and data under a key."""

    @pytest.fixture
    def secret(self, watch: Watch) -> str:
        """Return a key."""
        return watch.keep_secret(generate_aes_key().decode())

    @promise("encryption", "every operation works on encrypted ids and data")
    def test_everything_works_encrypted(self, open_store: StoreFactory, secret: str) -> None:
        store = open_store(is_session_crypt=True, session_aes_secret=secret)
        session_id = store.create("a:b", DATA)
        assert session_id.startswith("J$_"), "an encrypted id begins with J$_"
        assert store.get(session_id) == DATA, "get decrypts what create encrypted"
        store.update(session_id, {})
        assert store.get(session_id) == {}, "get decrypts what update encrypted"
        new = store.rework(session_id)
        assert store.get(session_id) is None, "the old id is dead"
        assert store.get(new) == {}, "the data stays"
        store.clear("a:b")
        assert store.get(new) is None, "clear finds encrypted sessions"

    @promise("encryption", "a forged id opens no session, and no second decoder is tried")
    def test_forged_ids_are_refused_quietly(self, open_store: StoreFactory, secret: str) -> None:
        CountingEncoder.decoded.clear()
        options: dict[str, Any] = {"is_session_crypt": True, "serializer": CountingEncoder}
        store = open_store(session_aes_secret=secret, **options)
        stranger = open_store(session_aes_secret=generate_aes_key(), **options)
        plain = open_store()
        session_id = store.create(KEY, DATA)
        middle = len(session_id) // 2
        other = "A" if session_id[middle] != "A" else "B"
        forged = [
            "J$_",
            session_id.removeprefix("J$_"),
            session_id[:-4],
            session_id[:middle] + other + session_id[middle + 1 :],
            "J$_" + base64.urlsafe_b64encode(b"\x80" * 120).decode(),
            "J$_\udcff",
            "J$_ünïcödé",
            stranger.create(KEY, DATA),
            plain.create(KEY, DATA),
        ]
        for forgery in forged:
            assert store.get(forgery) is None, "get returns None for a forgery"
            store.delete(forgery)
            with pytest.raises(JamSessionNotFound):
                store.update(forgery, {"n": 1})
            with pytest.raises(JamSessionNotFound):
                store.rework(forgery)
        assert not CountingEncoder.decoded, "what does not verify is not decoded any other way"
        assert store.get(session_id) == DATA, "existing sessions live on"

    @promise("encryption", "plain data is not accepted as encrypted", needs=["shared"])
    def test_plain_data_is_not_taken_for_encrypted(
        self, open_store: StoreFactory, secret: str
    ) -> None:
        store = open_store(is_session_crypt=True, session_aes_secret=secret)
        session_id = store.create(KEY, DATA)
        store.delete(session_id)
        smuggler = open_store(id_factory=lambda: session_id)
        smuggler.create(KEY, {"role": "smuggled"})
        assert store.get(session_id) is None, "plain data from somebody else counts as forged"

    @promise("encryption", "encrypted data is not stored, or read, as plain data", needs=["shared"])
    def test_encrypted_data_is_not_taken_for_plain(
        self, open_store: StoreFactory, secret: str
    ) -> None:
        store = open_store(is_session_crypt=True, session_aes_secret=secret)
        session_id = store.create(KEY, DATA)
        try:
            answer = open_store().get(session_id)
        except JamSessionCorrupt as error:
            assert "is_session_crypt" in str(error), "the error names the option that is off"
        else:
            assert answer is None, "without the key there is nothing to read"

    @promise(
        "encryption", "data copied into another session's record opens nothing", needs=[RECORDS]
    )
    def test_copied_data_opens_nothing(self, open_store: StoreFactory, secret: str) -> None:
        store = open_store(is_session_crypt=True, session_aes_secret=secret)
        ids = [store.create(KEY, {"n": 1}), store.create(KEY, DATA), store.create("thief", DATA)]
        for _ in range(2):
            own, same_key, other_key = records_of(store, *ids)
            if not store.owner_of(own):
                pytest.skip(f"the data of {type(store).__name__} is not sealed to its session")
            for copied in (same_key, other_key):
                assert store.replace(own, copied.data), "the text was the record's"
                assert store.get(ids[0]) is None, "another session's data does not open"
                assert store.replace(own._replace(data=copied.data), own.data)
            assert store.get(ids[0]) == {"n": 1}, "its own data opens again"
            ids = [store.rework(ids[0]), store.rework(ids[1], KEY), store.rework(ids[2], "thief")]
            assert store.get(ids[0]) == {"n": 1}, "rework seals the data to the new id"

    @promise("encryption", "an update in the middle of a rework is not lost")
    def test_rework_seals_what_was_written_meanwhile(
        self, open_store: StoreFactory, secret: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = open_store(is_session_crypt=True, session_aes_secret=secret)
        session_id = store.create(KEY, DATA)
        rekeyed = store.codec.rekeyed
        now_stored: dict[str, Any] = DATA

        def update_first(*args: Any) -> Any:
            nonlocal now_stored
            if now_stored is DATA:
                now_stored = {"newer": True}
                store.update(session_id, now_stored)
            return rekeyed(*args)

        monkeypatch.setattr(store.codec, "rekeyed", update_first)
        new_id = store.rework(session_id)
        assert store.get(new_id) == now_stored, "what was acknowledged stays"

    @promise("encryption", "no id and no data is stored in readable form", needs=["snapshot"])
    def test_nothing_readable_is_stored(
        self, open_store: StoreFactory, secret: str, snapshot: Snapshot
    ) -> None:
        numbers = count()
        store = open_store(
            is_session_crypt=True,
            session_aes_secret=secret,
            id_factory=lambda: f"readable-id-{next(numbers)}",
        )
        ids = [store.create(KEY, DATA)]
        writes: dict[str, Callable[[], object]] = {
            "create": lambda: None,
            "update": lambda: store.update(ids[-1], DATA),
            "rework": lambda: ids.append(store.rework(ids[-1])),
        }
        if "mutate" in store.capabilities:
            writes["mutate"] = lambda: store.mutate(ids[-1], lambda _: DATA)
        for name, write in writes.items():
            write()
            stored = repr(snapshot())
            for private in (PRIVATE, "readable-id", secret):
                assert not any(text in stored for text in spellings(private)), (
                    f"{name} stores nothing readable"
                )
            assert store.keeps_ids or ids[-1] not in stored, f"{name} stores no usable id"

    @promise("encryption", "sessions survive a rotation of keys", needs=["shared"])
    def test_rotating_keys_keeps_everybody_logged_in(
        self, open_store: StoreFactory, watch: Watch
    ) -> None:
        old, new = (watch.keep_secret(generate_aes_key().decode()) for _ in range(2))

        def under(*keys: str) -> BaseSession:
            return open_store(is_session_crypt=True, session_aes_secret=list(keys))

        before = under(old)
        session_id = before.create(KEY, DATA)
        during = under(new, old)
        assert during.get(session_id) == DATA, "the second key still opens its sessions"
        during.update(session_id, {"n": 1})
        reworked = during.rework(session_id)
        during.update(reworked, {"n": 2})
        after = under(new)
        assert after.get(reworked) == {"n": 2}, "the first key seals what is written"
        assert before.get(reworked) is None, "the old key opens nothing new"
        assert after.get(session_id) is None, "an id under a removed key opens no session"

    @promise("encryption", "keys come from JAM_SESSION_AES_SECRET by default", needs=["shared"])
    def test_keys_come_from_the_environment(
        self, open_store: StoreFactory, secret: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = generate_aes_key().decode()
        monkeypatch.setenv("JAM_SESSION_AES_SECRET", f"{secret}, {old}")
        store = open_store(is_session_crypt=True)
        under_first = open_store(is_session_crypt=True, session_aes_secret=secret)
        under_second = open_store(is_session_crypt=True, session_aes_secret=old.encode())
        assert under_first.get(store.create(KEY, DATA)) == DATA, "the first key encrypts"
        assert store.get(under_second.create(KEY, DATA)) == DATA, "every key decrypts"

    @promise("encryption", "encryption without a key is JamSessionEmptyAESKey")
    def test_no_key_is_an_error(
        self, open_store: StoreFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("JAM_SESSION_AES_SECRET", raising=False)
        empty: tuple[Any, ...] = (None, "", b"", [], " , ")
        for nothing in empty:
            with pytest.raises(JamSessionEmptyAESKey):
                open_store(is_session_crypt=True, session_aes_secret=nothing)

    @promise("encryption", "a bad key is JamSessionInvalidAESKey, which does not show it")
    def test_a_bad_key_is_an_error_that_does_not_show_it(
        self, open_store: StoreFactory, secret: str, watch: Watch
    ) -> None:
        for bad in ("too-short-a-key", secret[:-4]):
            watch.keep_secret(bad)
            with pytest.raises(JamSessionInvalidAESKey) as caught:
                open_store(is_session_crypt=True, session_aes_secret=[secret, bad])
            watch.hear(caught.value)
            assert "2 of 2" in str(caught.value), "the error says which key it is"
            assert not watch.indiscretions(), "the error does not show a key"

    @promise(
        "encryption", "plain sessions are left alone by a store that encrypts", needs=["shared"]
    )
    def test_plain_sessions_outlive_an_attempt_at_encryption(
        self, open_store: StoreFactory, secret: str
    ) -> None:
        plain = open_store()
        session_id = plain.create(KEY, DATA)
        encrypting = open_store(is_session_crypt=True, session_aes_secret=secret)
        assert encrypting.get(session_id) is None, "a plain id opens no session under encryption"
        encrypting.delete(session_id)
        assert plain.get(session_id) == DATA, "once it is off again, nobody is logged out"
