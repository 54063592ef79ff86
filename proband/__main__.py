"""The command `proband`, also `python -m proband`. An interrupt at any moment, even while loading, ends in one line."""

import os
import sys

from proband.errors import INTERRUPTED, interrupted


def main() -> None:
    try:
        from proband.cli import run

        code = run()
    except BaseException as error:
        if not interrupted(error):
            raise
        print(INTERRUPTED, file=sys.stderr)
        code = 2
    if code == 2:
        # Python would end by the signal itself when Ctrl-C came while it ran code from a string, as dataclasses do, though it was caught.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
