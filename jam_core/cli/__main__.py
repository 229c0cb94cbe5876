"""`python -m jam_core.cli` is the command `jam`."""

import sys

from jam_core.cli import main

sys.exit(main())
