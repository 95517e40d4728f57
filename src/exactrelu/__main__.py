"""``python -m exactrelu`` is the command line."""

import sys

from .commands._cli import main

if __name__ == "__main__":
    sys.exit(main())
