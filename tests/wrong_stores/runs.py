"""What tests/test_contract_suite_wrong_stores.py runs: on each wrong store what must catch it."""

from hypothesis import Phase, settings
from jam_testing import clauses_of

from tests.wrong_stores import WRONG_STORES
from tests.wrong_stores.file_store import FileContract

# That a history fails is enough; the shortest that does takes long to find.
settings.register_profile("any failure", phases=[Phase.generate])
settings.load_profile("any failure")

SMALL = {"race_rounds": 10, "outage_limit": 1.0, "histories": 200, "histories_at_once": 100}

for _wrong in WRONG_STORES:
    _name = f"Test{_wrong.store.__name__}"
    _limit = getattr(_wrong.store, "clause_limit", FileContract.clause_limit)
    _others = dict.fromkeys(set(clauses_of(FileContract)) - set(_wrong.clauses))
    _members = {"store_class": _wrong.store, "clause_limit": _limit, **SMALL, **_others}
    globals()[_name] = type(_name, (FileContract,), _members)
