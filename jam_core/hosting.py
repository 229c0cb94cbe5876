"""The public names for tools that work with stores and configurations, such as `jam-cli`.

Applications and stores do not need them.
"""

from jam_core.codec import SECRET_VARIABLE, read_keys
from jam_core.config import CONFIG_VARIABLE, Written
from jam_core.discovery import (
    DamagedDistribution,
    InstalledPlugin,
    damaged_distributions,
    find_store,
    find_wrapper,
    installed_stores,
    installed_wrappers,
)
from jam_core.hooks import wrapped_operations
from jam_core.logger import LOG_KEY_VARIABLE, LogNames
from jam_core.opening import ConfiguredStore, configured_store
from jam_core.options import Option, options_of, options_that_create
from jam_core.problems import close_match
from jam_core.session import (
    ASYNCIO,
    LIFETIMES,
    LOGIN,
    OPERATIONS,
    OPTIONAL_OPERATIONS,
    RECORDS,
    SEEN,
    optional_operations_of,
)

__all__ = [
    "ASYNCIO",
    "CONFIG_VARIABLE",
    "LIFETIMES",
    "LOGIN",
    "LOG_KEY_VARIABLE",
    "OPERATIONS",
    "OPTIONAL_OPERATIONS",
    "RECORDS",
    "SECRET_VARIABLE",
    "SEEN",
    "ConfiguredStore",
    "DamagedDistribution",
    "InstalledPlugin",
    "LogNames",
    "Option",
    "Written",
    "close_match",
    "configured_store",
    "damaged_distributions",
    "find_store",
    "find_wrapper",
    "installed_stores",
    "installed_wrappers",
    "optional_operations_of",
    "options_of",
    "options_that_create",
    "read_keys",
    "wrapped_operations",
]
