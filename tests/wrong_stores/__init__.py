"""Stores that each break a promise, on purpose: the contract suite has to catch every one.

`python -m tests.wrong_stores` writes the table of them, docs/wrong-stores.md.
"""

from tests.wrong_stores import (
    concurrency,
    devices,
    encryption,
    eventloops,
    faults,
    lifetimes,
    operations,
    optional,
    records,
    time,
)
from tests.wrong_stores.catalogue import WRONG_STORES, WrongStore

SUBJECTS = (
    *(operations, optional, devices, records, time, lifetimes),
    *(encryption, concurrency, eventloops, faults),
)

__all__ = ["SUBJECTS", "WRONG_STORES", "WrongStore"]
