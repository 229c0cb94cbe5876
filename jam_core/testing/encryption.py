"""With is_session_crypt: what is forged is no session, and keys can be rotated."""

import base64
from typing import Any, ClassVar

import pytest

from jam_core.codec import generate_aes_key
from jam_core.encoders import BaseEncoder, JsonEncoder
from jam_core.exceptions import (
    JamSessionCorrupt,
    JamSessionEmptyAESKey,
    JamSessionInvalidAESKey,
    JamSessionNotFound,
)
from jam_core.session import BaseSession
from jam_core.testing.fixtures import DATA, KEY, StoreContract, StoreFactory, Watch


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


class EncryptionContract(StoreContract):
    """Ids and data under a key."""

    @pytest.fixture
    def secret(self, watch: Watch) -> str:
        """Return a key."""
        return watch.keep_secret(generate_aes_key().decode())

    def test_everything_works_encrypted(self, open_store: StoreFactory, secret: str) -> None:
        store = open_store(is_session_crypt=True, session_aes_secret=secret)
        session_id = store.create("a:b", DATA)
        assert session_id.startswith("J$_")
        assert store.get(session_id) == DATA
        store.update(session_id, {})
        assert store.get(session_id) == {}
        new = store.rework(session_id)
        assert store.get(session_id) is None
        assert store.get(new) == {}
        store.clear("a:b")
        assert store.get(new) is None

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
            assert store.get(forgery) is None
            store.delete(forgery)
            with pytest.raises(JamSessionNotFound):
                store.update(forgery, {"n": 1})
            with pytest.raises(JamSessionNotFound):
                store.rework(forgery)
        assert not CountingEncoder.decoded, "what does not verify is not decoded any other way"
        assert store.get(session_id) == DATA

    def test_rotating_keys_keeps_everybody_logged_in(
        self, open_store: StoreFactory, watch: Watch
    ) -> None:
        old, new = (watch.keep_secret(generate_aes_key().decode()) for _ in range(2))

        def under(*keys: str) -> BaseSession:
            return open_store(is_session_crypt=True, session_aes_secret=list(keys))

        before = under(old)
        self.need(before, "shared")
        session_id = before.create(KEY, DATA)
        during = under(new, old)
        assert during.get(session_id) == DATA, "the second key still opens its sessions"
        during.update(session_id, {"n": 1})
        reworked = during.rework(session_id)
        during.update(reworked, {"n": 2})
        after = under(new)
        assert after.get(reworked) == {"n": 2}, "the first key seals what is written"
        assert before.get(reworked) is None
        assert after.get(session_id) is None

    def test_keys_come_from_the_environment(
        self, open_store: StoreFactory, secret: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = generate_aes_key().decode()
        monkeypatch.setenv("JAM_SESSION_AES_SECRET", f"{secret}, {old}")
        store = open_store(is_session_crypt=True)
        self.need(store, "shared")
        assert open_store(is_session_crypt=True, session_aes_secret=secret).get(
            store.create(KEY, DATA)
        )
        assert store.get(
            open_store(is_session_crypt=True, session_aes_secret=old.encode()).create(KEY, DATA)
        )

    def test_no_key_is_an_error(
        self, open_store: StoreFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("JAM_SESSION_AES_SECRET", raising=False)
        empty: tuple[Any, ...] = (None, "", b"", [], " , ")
        for nothing in empty:
            with pytest.raises(JamSessionEmptyAESKey):
                open_store(is_session_crypt=True, session_aes_secret=nothing)

    def test_a_bad_key_is_an_error_that_does_not_show_it(
        self, open_store: StoreFactory, secret: str, watch: Watch
    ) -> None:
        for bad in ("too-short-a-key", secret[:-4]):
            watch.keep_secret(bad)
            with pytest.raises(JamSessionInvalidAESKey) as caught:
                open_store(is_session_crypt=True, session_aes_secret=[secret, bad])
            watch.hear(caught.value)
            assert "2 of 2" in str(caught.value)

    def test_encrypted_data_is_not_taken_for_plain(
        self, open_store: StoreFactory, secret: str
    ) -> None:
        store = open_store(is_session_crypt=True, session_aes_secret=secret)
        self.need(store, "shared")
        session_id = store.create(KEY, DATA)
        try:
            answer = open_store().get(session_id)
        except JamSessionCorrupt as error:
            assert "is_session_crypt" in str(error)
        else:
            assert answer is None

    def test_a_record_of_another_serializer_is_corrupt_and_left_alone(
        self, open_store: StoreFactory
    ) -> None:
        class Odd(BaseEncoder):
            @classmethod
            def dumps(cls, var: dict[str, Any]) -> bytes:
                return b"odd" + JsonEncoder.dumps(var)

            @classmethod
            def loads(cls, var: str | bytes) -> dict[str, Any]:
                return JsonEncoder.loads(var[3:])

        odd, normal = open_store(serializer=Odd), open_store()
        self.need(odd, "shared")
        session_id, other = odd.create(KEY, DATA), normal.create(KEY, {"n": 1})
        with pytest.raises(JamSessionCorrupt):
            normal.get(session_id)
        assert normal.get(other) == {"n": 1}, "other sessions are not affected"
        assert odd.get(session_id) == DATA, "the record was left as it is"
        normal.delete(session_id)
        assert odd.get(session_id) is None, "a damaged session can be ended"
