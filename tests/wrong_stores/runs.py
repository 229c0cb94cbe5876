"""The contract on every wrong store: what tests/test_contract_suite_wrong_stores.py runs."""

from hypothesis import Phase, settings

from tests.wrong_stores import WRONG_STORES
from tests.wrong_stores.file_store import FileContract

# That a history fails is enough; the shortest that does takes long to find.
settings.register_profile("any failure", phases=[Phase.generate])
settings.load_profile("any failure")

SMALL = {"race_rounds": 10, "outage_limit": 1.0, "histories": 200}

for _wrong in WRONG_STORES:
    _name = f"Test{_wrong.store.__name__}"
    globals()[_name] = type(_name, (FileContract,), {"store_class": _wrong.store, **SMALL})
