"""Open a page in headless Chromium, without a network, and say whether anything can be seen on it.

    python tests/look.py PAGE.html PICTURE.png [--width PIXELS]

Writes the picture and exits 0; exits 1 when the picture is blank, 2 when there is no Chromium or it does not draw.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.image
import numpy as np

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: A page of text and pictures covers far more; an error page or a lone heading covers less.
LEAST_INK = 0.02
TALL_PIXELS = 4000


def draw(page: Path, picture: Path, *, width_pixels: int) -> None:
    """The top 4,000 pixels of `page`, `width_pixels` wide, as a PNG."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(2)
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        offline = "--host-resolver-rules=MAP * ~NOTFOUND"
        size = f"--window-size={width_pixels},{TALL_PIXELS}"
        command = [browser, *options, offline, size, f"--screenshot={picture.resolve()}", page.resolve().as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if not picture.exists():
        print(done.stderr, file=sys.stderr)
        sys.exit(2)


def ink(picture: Path) -> float:
    """The share of pixels that are not of the commonest colour."""
    pixels = (matplotlib.image.imread(picture)[..., :3] * 255).round().astype(np.uint32)
    colours = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    return 1 - np.unique(colours, return_counts=True)[1].max() / colours.size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1200, metavar="PIXELS")
    arguments = parser.parse_args()
    draw(arguments.page, arguments.picture, width_pixels=arguments.width)
    found = ink(arguments.picture)
    print(f"{arguments.page.name}, {arguments.width} pixels wide: {found:.0%} of the picture is drawn on")
    if found < LEAST_INK:
        sys.exit(1)


if __name__ == "__main__":
    main()
