"""How long `proband --help` takes: the median and the worst of some fresh processes.

python bench/start.py [--times N]
"""

import argparse
import statistics
import subprocess
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15, metavar="N")
    times = parser.parse_args().times
    seconds = []
    for _ in range(times + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "proband", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    warm = seconds[1:]  # the first compiles and fills the disk cache
    print(f"proband --help: median {statistics.median(warm):.2f} s, worst {max(warm):.2f} s of {times} (first {seconds[0]:.2f} s)")


if __name__ == "__main__":
    main()
