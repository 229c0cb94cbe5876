"""Collects everything that is wrong with a configuration, to report it all at once."""

from collections.abc import Iterable
from typing import Self

from jam_core.exceptions import JamConfigurationError


class Problems:
    """Collects what is wrong with a configuration; passed along on the way from file to store.

    Args:
        source: What was read: the file's path, or words for a dict.
        key: The dotted path of the setting that this collector is for.

    Attributes:
        source: What was read.
        key: The dotted path of the setting.
    """

    def __init__(self, source: str, key: str = "") -> None:
        self.source = source
        self.key = key
        self._found: list[JamConfigurationError] = []

    def at(self, key: str) -> Self:
        """Return the collector for a setting in this table, or in this list as "[0]".

        What it collects is collected here as well.
        """
        between = "." if self.key and key and not key.startswith("[") else ""
        below = type(self)(self.source, f"{self.key}{between}{key}")
        below._found = self._found
        return below

    def add(self, text: str, cause: BaseException | None = None) -> None:
        """Note what is wrong with this setting: the rest of a sentence that begins with its key."""
        problem = JamConfigurationError(f"{self.source}: {self.key} {text}")
        problem.__cause__ = cause
        self._found.append(problem)

    def add_error(self, error: JamConfigurationError) -> None:
        """Note an error that has its own subject."""
        problem = type(error)(f"{self.source}: {error.message}")
        problem.__cause__ = error.__cause__
        self._found.append(problem)

    def raise_any(self) -> None:
        """Raise what was found, if anything was.

        Raises:
            JamConfigurationError: The one problem, or all of them in one.
        """
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            texts = [problem.message for problem in self._found]
            listed = "".join("\n  - " + text.removeprefix(f"{self.source}: ") for text in texts)
            error = JamConfigurationError(f"{self.source}: {len(texts)} problems:{listed}", texts)
            causes = (problem.__cause__ for problem in self._found)
            raise error from next((cause for cause in causes if cause is not None), None)


def close_match(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" for the nearest of the known words, or nothing."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
