"""Suggestions for misspelled words."""

from collections.abc import Iterable


def close_match(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" for the nearest of the known words, or nothing."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
