"""The journal of the file layout: an append-only file, one JSON object per line.

The first line is `{"jam_journal": 1, "lineage": ..., "generation": 3, "folded_at": 1764000000.5}`,
with the lineage and generation of the document that it continues. Each other line is the outcome of
one operation, as hashes of ids and their state afterwards:
`{"del": [<hash>, ...]}`, `{"put": {<hash>: <record>}}`, both of them, or
`{"touch": {<hash>: <expires_at>}}`.
A line gives the new state, not a difference, so replaying a journal twice gives the same state.

A last line without its newline is left by an interrupted write: it was never confirmed, readers
ignore it, and the next writer cuts it off.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from jam_core import JamSessionCorrupt
from jam_json.files import open_into, regular_status, replace_file, write_all
from jam_json.record import is_id_hash

IN_DOUBT = -1
_FORMAT = 1


class Journal:
    """One journal file, open, and how far it has been read.

    Args:
        path: The file.
        files: Receives its descriptor, for the caller to close.

    Attributes:
        file: The descriptor.
        lineage: The lineage of the document that this journal continues.
        generation: The generation of that document.
        folded_at: The moment up to which that document was rid of expired sessions, or None.
        inode: Tells this file from one that replaced it under the same name; it cannot be given
            to another file while this one is open.
        position: Up to where the file has been read and memory matches it. `IN_DOUBT` while that
            changes: an interrupt leaves it so, and everything is read again.

    Raises:
        FileNotFoundError: There is no such file, or its first line was never written.
        JamSessionCorrupt: It is not a journal.
    """

    def __init__(self, path: str, files: list[int]) -> None:
        self._path = path
        self.file = open_into(files, path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        self.inode = regular_status(self.file).st_ino
        header = self._read_complete_lines(0)[:1]
        if not header:
            raise FileNotFoundError(path)
        self.lineage, self.generation, self.folded_at = self._parse_header(header[0])
        self._header_size = self.position = len(header[0])

    @classmethod
    def begin(
        cls,
        path: str,
        files: list[int],
        lineage: str,
        generation: int,
        folded_at: float | None,
    ) -> "Journal":
        """Put a new, empty journal in place of what is there, and open it."""
        header = {
            "jam_journal": _FORMAT,
            "lineage": lineage,
            "generation": generation,
            "folded_at": folded_at,
        }
        replace_file(path, f"{path}.tmp", [json.dumps(header) + "\n"], fsync=True)
        return cls(path, files)

    def has_entries(self) -> bool:
        """Tell whether it contains any operation."""
        return len(self._read_complete_lines(self._header_size)) > 0

    def read_on(self, apply: Callable[[str, dict[str, Any]], None]) -> None:
        """Pass on what has been written since: where each entry is, and the entry.

        Raises:
            JamSessionCorrupt: A line is damaged; the position stays before it.
        """
        lines = self._read_complete_lines(self.position)
        if not lines:
            return
        position, self.position = self.position, IN_DOUBT
        for line in lines:
            where = f"{self._path}, byte {position}"
            try:
                entry = json.loads(line.decode())
            except ValueError:
                entry = None
            if not _is_entry(entry):
                self.position = position
                raise JamSessionCorrupt(
                    f"{where}: a damaged line. What follows it cannot be trusted: restore "
                    "document and journal from one backup, or remove the line to go on without "
                    "what it recorded. Nothing was changed."
                )
            apply(where, entry)
            position += len(line)
        self.position = position

    def append(self, entry: str, *, fsync: bool) -> int:
        """Write an entry at the position, which is then in doubt.

        If writing fails, nothing of it is left; if fsync fails, it is there, and counts.

        Returns:
            Where it ends: the position, once it has taken effect in memory.
        """
        line = entry.encode() + b"\n"
        position, self.position = self.position, IN_DOUBT
        if os.fstat(self.file).st_size > position:
            os.ftruncate(self.file, position)
        try:
            write_all(self.file, line)
        except OSError:
            os.ftruncate(self.file, position)
            self.position = position
            raise
        if fsync:
            os.fsync(self.file)
        return position + len(line)

    def _read_complete_lines(self, start: int) -> list[bytes]:
        missing = os.fstat(self.file).st_size - start
        content = b""
        while missing > len(content):
            chunk = os.pread(self.file, missing - len(content), start + len(content))
            if not chunk:
                break
            content += chunk
        return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)

    def _parse_header(self, line: bytes) -> tuple[str, int, float | None]:
        try:
            header = json.loads(line)
        except ValueError:
            header = None
        match header:
            case {
                "jam_journal": 1,
                "lineage": str(lineage),
                "generation": int(generation),
                "folded_at": int() | float() | None as folded_at,
            }:
                return lineage, generation, folded_at
        raise JamSessionCorrupt(
            f"{self._path}, line 1 is damaged, or this is not a journal of Jam. "
            "Restore it from a backup; it was left as it is."
        )


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not entry or set(entry) - {"del", "put", "touch"}:
        return False
    delete, put, touch = entry.get("del", []), entry.get("put", {}), entry.get("touch", {})
    return (
        isinstance(delete, list)
        and isinstance(put, dict)
        and isinstance(touch, dict)
        and all(isinstance(expires_at, int | float | None) for expires_at in touch.values())
        and all(is_id_hash(id_hash) for id_hash in (*delete, *put, *touch))
    )
