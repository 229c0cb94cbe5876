"""Being the host of plugins, as the application is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path


@contextmanager
def hosting_plugins() -> Iterator[None]:
    """Let plugins be imported and work in this process.

    Modules in the working directory are found, as by `python -m`, where most applications are
    started. What a plugin prints goes to standard error: standard output is for the answer.
    """
    sys.path.append(str(Path.cwd()))
    with redirect_stdout(sys.stderr):
        yield
