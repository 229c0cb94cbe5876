"""Running the code of plugins in this process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path


@contextmanager
def running_plugin_code() -> Iterator[None]:
    """Let plugins be imported and run in this process.

    Modules in the working directory are found, as by `python -m`: most applications are started
    there. What a plugin prints goes to standard error: standard output is for the answer.
    """
    sys.path.append(str(Path.cwd()))
    with redirect_stdout(sys.stderr):
        yield
