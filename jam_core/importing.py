"""Importing an object that a configuration names by its path."""

from importlib import import_module
from typing import Any

from jam_core.exceptions import JamPluginLoadError
from jam_core.problems import close_match


def import_object(path: str) -> Any:
    """Return the object that a string names: "package.module:name" or "package.module.name".

    Raises:
        JamPluginLoadError: There is no such object, or its module fails to import.
    """
    module_name, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not module_name or not name:
        raise JamPluginLoadError(f"{path!r} does not name an object: write package.module:name.")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise JamPluginLoadError(
                f"{path!r}: there is no module {error.name!r}. "
                "Check the spelling, and that it is installed or on PYTHONPATH."
            ) from error
        raise import_failure(repr(path), error) from error
    except (Exception, SystemExit) as error:
        raise import_failure(repr(path), error) from error
    for attribute in name.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            names = [known for known in dir(found) if not known.startswith("_")]
            raise JamPluginLoadError(
                f"{path!r}: {getattr(found, '__name__', module_name)} has no {attribute!r}."
                f"{close_match(attribute, names)}"
            ) from error
    return found


def is_importable(package: str) -> bool:
    """Tell whether there is a package or module with a name (without dots); imports nothing."""
    from importlib.util import find_spec

    try:
        return find_spec(package) is not None
    except ValueError:  # it exists, but nobody knows where from
        return True


def package_lacking(error: BaseException) -> str | None:
    """Return the package whose absence made an import fail, or None."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    package = error.name.partition(".")[0]
    return None if is_importable(package) else package


def import_failure(what: str, error: BaseException) -> JamPluginLoadError:
    """Return the error for a plugin whose module raised `error` on import."""
    lacking = package_lacking(error)
    if lacking:
        cause = f"it needs the package {lacking!r}, which is not installed"
    else:
        cause = f"{type(error).__name__}: {error}"
    return JamPluginLoadError(f"{what} fails to import: {cause}.")
