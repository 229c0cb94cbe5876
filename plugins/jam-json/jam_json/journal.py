"""The journal of the file layout: an append-only file, one JSON object a line.

The first line is `{"jam_journal": 1, "lineage": ..., "generation": 3, "folded_at": 1764000000.5}`,
with the lineage and generation of the document that it continues. Each other is the outcome of one
operation, as the hash of an id and what is so afterwards:
`{"del": [<hash>, ...]}`, `{"put": {<hash>: <record>}}`, both of them, or
`{"touch": {<hash>: <expires_at>}}`.
A line sets a state and changes none, so that a journal replayed twice gives the same state.

A last line without its newline is what an interrupted write leaves: it was never confirmed, readers
pass over it, and the next writer cuts it off.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jam_core import JamSessionCorrupt
from jam_json.files import replace_file, write_all
from jam_json.record import is_id_hash

_FORMAT = 1


class Journal:
    """One journal file, open, and how far it has been read.

    Args:
        path: The file.

    Attributes:
        lineage: The lineage of the document that this journal continues.
        generation: The generation of that document.
        folded_at: The moment up to which that document was rid of expired sessions, or None.
        inode: Tells this file from one that replaced it under the same name; it cannot be given
            to another file as long as this one is open.
        position: Up to where the file has been read.

    Raises:
        FileNotFoundError: There is no such file, or one that was never begun.
        JamSessionCorrupt: It is no journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags)
        self.inode = os.fstat(self._file).st_ino
        header = self._read_complete_lines(0)[:1]
        if not header:
            raise FileNotFoundError(path)
        self.lineage, self.generation, self.folded_at = self._parse_header(header[0])
        self._header_size = self.position = len(header[0])

    @classmethod
    def begin(cls, path: Path, lineage: str, generation: int, folded_at: float | None) -> "Journal":
        """Put a new, empty journal in the place of what is there, and open it."""
        header = {
            "jam_journal": _FORMAT,
            "lineage": lineage,
            "generation": generation,
            "folded_at": folded_at,
        }
        replace_file(str(path), f"{path}.tmp", [json.dumps(header) + "\n"], fsync=True)
        return cls(path)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. May be called again."""
        file, self._file = getattr(self, "_file", -1), -1
        if file >= 0:
            os.close(file)

    def has_entries(self) -> bool:
        """Tell whether any operation stands in it."""
        return len(self._read_complete_lines(self._header_size)) > 0

    def read_on(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what has been written since, as where it stands and the entry.

        Raises:
            JamSessionCorrupt: A line is damaged; the position stays before it.
        """
        for line in self._read_complete_lines(self.position):
            where = f"{self._path}, byte {self.position}"
            try:
                entry = json.loads(line.decode())
            except ValueError:
                entry = None
            if not _is_entry(entry):
                raise JamSessionCorrupt(
                    f"{where}: a damaged line. What follows it cannot be trusted: restore "
                    "document and journal from one backup, or remove the line to go on without "
                    "what it recorded. Nothing was changed."
                )
            yield where, entry
            self.position += len(line)

    def append(self, entry: str, *, fsync: bool) -> int:
        """Write an entry at the position.

        A failure to write leaves nothing of it; after a failure of fsync it is there, and counts.

        Returns:
            Its size: the caller moves the position on when the entry has taken effect.
        """
        line = entry.encode() + b"\n"
        if os.fstat(self._file).st_size > self.position:
            os.ftruncate(self._file, self.position)
        try:
            write_all(self._file, line)
        except OSError:
            os.ftruncate(self._file, self.position)
            raise
        if fsync:
            os.fsync(self._file)
        return len(line)

    def _read_complete_lines(self, start: int) -> list[bytes]:
        missing = os.fstat(self._file).st_size - start
        content = b""
        while missing > len(content):
            chunk = os.pread(self._file, missing - len(content), start + len(content))
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
            f"{self._path}, line 1 is damaged, or this is no journal of Jam. "
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
