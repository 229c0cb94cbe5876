"""Makes the README fit for the package index, where a link within the repository leads nowhere."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE = re.compile(r"\]\((?!https?:|#)")


class ReadmeHook(MetadataHookInterface):
    """Gives the README absolute links, below the address of the source."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field `readme`."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        absolute = _RELATIVE.sub(f"]({metadata['urls']['Source']}", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute}
