"""``python -m raymq_cli``, the same as the command ``raymq``."""

import sys

from raymq_cli import main

if __name__ == "__main__":
    sys.exit(main())
