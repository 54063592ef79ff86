"""The command `proband`, also `python -m proband`. An interrupt at any moment, even while loading, ends in one line."""

import sys


def main() -> None:
    try:
        from proband.cli import run

        sys.exit(run())
    except KeyboardInterrupt:
        print("Interrupted. Nothing was left half-written.", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
