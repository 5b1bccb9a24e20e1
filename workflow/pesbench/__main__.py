"""`python -m pesbench`: one subcommand a stage."""

from __future__ import annotations

import sys

from pesbench.cli import main

if __name__ == "__main__":
    sys.exit(main())
