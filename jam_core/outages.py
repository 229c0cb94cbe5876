"""An outage of the store is logged once when it begins, and once when it ends."""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jam_core.exceptions import JamStoreUnavailable
    from jam_core.logger import BaseLogger

# Seconds without a failure after which a success ends an outage. Otherwise, if one node of several
# is down, each success and each failure would be a line in the log.
_CALM = 5.0


class Outage:
    """What one process knows about an outage of its store.

    No lock guards it: concurrent threads may log two outages as one, but they never leave it in a
    state in which the next one would not be logged.

    Args:
        logger: Where to log it.
    """

    def __init__(self, logger: "BaseLogger") -> None:
        self._logger = logger
        self._failed_at = 0.0

    def note(self, error: "JamStoreUnavailable") -> None:
        """Note a failure; the first one begins the outage."""
        self._failed_at = now = time.monotonic()
        beginning = (now,)
        if vars(self).setdefault("_began", beginning) is beginning:  # atomic: only one is first
            self._logger.outage_began(error.message, error.error_code)

    def is_over(self) -> bool:
        """Return, after a success, whether there is no longer an outage; log its end."""
        if time.monotonic() - self._failed_at < _CALM:
            return False
        began = vars(self).pop("_began", None)
        if began is not None:
            self._logger.outage_ended(self._failed_at - began[0])
        return True
