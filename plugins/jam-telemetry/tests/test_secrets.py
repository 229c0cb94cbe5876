"""Nothing that opens a session, or says whose it is, leaves the process."""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest

from jam_core import Jam, JamError, generate_aes_key, hash_id, session_handle

from .backends import Backend
from .collector import Collector

OpenJam = Callable[..., Jam]

KEY = "key-of-ann@example.org"
FIELD, VALUE = "field-of-the-data", "value-of-the-data"


@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "encrypted"])
def test_no_id_no_key_no_data_and_no_secret_is_exported(
    backend: Backend, is_encrypted: bool, collector: Collector, open_jam: OpenJam
) -> None:
    secret = generate_aes_key().decode()
    encryption = {"is_session_crypt": True, "session_aes_secret": secret} if is_encrypted else {}
    jam = open_jam(collector.plugin(), **backend.session, **encryption)
    data = {FIELD: VALUE}
    ids = ["unknown-id"]

    def fail(data: dict[str, object]) -> None:
        raise ValueError(f"{KEY} {data} {ids}")

    calls: list[Callable[[str], object]] = [
        lambda _: ids.append(jam.session_create(KEY, data)),
        lambda _: jam.session_create(KEY, {FIELD: {VALUE}}),
        jam.session_get,
        lambda one: jam.session_update(one, data),
        lambda one: jam.session_update(one, {FIELD: {VALUE}}),
        jam.session_touch,
        lambda one: jam.session_mutate(one, lambda data: {**data, "more": VALUE}),
        lambda one: jam.session_mutate(one, fail),
        lambda one: ids.append(jam.session_rework(one)),
        lambda _: jam.session_list(KEY),
        lambda one: jam.session_revoke(KEY, session_handle(one)),
        jam.session_clear_others,
        lambda _: jam.session_delete(ids[-1]),
        lambda _: jam.session_clear(KEY),
    ]

    def call_all(session_id: str) -> None:
        for call in calls:
            with suppress(JamError, ValueError):
                call(session_id)

    call_all("unknown-id")
    ids.append(jam.session_create(KEY, data))
    call_all(ids[-1])
    backend.go_down()
    call_all(ids[-1])

    exported = collector.exported()
    kinds = {kind for (kind,) in collector.counts("error.type")}
    assert {"sessions.not_found", "sessions.data", "sessions.store_unavailable"} <= kinds
    assert "ValueError" in kinds
    randoms = [one.rpartition(":")[2] for one in ids]
    for word in (KEY, FIELD, VALUE, secret, *ids, *randoms, *map(hash_id, ids)):
        assert word not in exported
        assert json.dumps(word).strip('"') not in exported
