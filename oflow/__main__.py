"""``python -m oflow``: the command line, where the script `oflow` is not on the path."""

import sys

from oflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
