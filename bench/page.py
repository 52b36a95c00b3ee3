"""Drop hundreds of photos on the page at once: `python -m bench.page http://127.0.0.1:8000 [PHOTOS]`.

Prints the longest time that the page's thread was busy, the memory of the browser, and the number of answered photos.
The photos are drawn here, 12 megapixels and about 3 MB each. Needs Chromium and a running gateway.
"""

import io
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
from PIL import Image

from bench.photos import draw_photos
from testing.chromium import running_chromium
from testing.page import Page

WIDTH, HEIGHT = 4000, 3000
DIFFERENT = 6
"""Number of different photos. The others are the same files under other names; the browser does not cache them."""

PATIENCE_SECONDS = 900.0
OBSERVE = """window.longTasks = [];
new PerformanceObserver(list => longTasks.push(...list.getEntries().map(one => one.duration)))
    .observe({type: 'longtask', buffered: true});"""


def main() -> int:
    """Measures and prints."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    count = int(sys.argv[2]) if len(sys.argv) == 3 else 300
    with TemporaryDirectory() as folder, running_chromium() as browser:
        total = _draw(Path(folder) / "photos", count)
        browser.screen(1280, 900)
        browser.prefers("light")
        page = Page(browser, sys.argv[1]).open()
        browser.execute_script(OBSERVE)
        before, peak, started = _memory(), 0, time.monotonic()
        browser.drop(Path(folder) / "photos")
        while len(tiles := page.tiles()) < count or any(one.state in ("waiting", "working") for one in tiles):
            peak = max(peak, _memory())
            if time.monotonic() - started > PATIENCE_SECONDS:
                break
            time.sleep(0.5)
        answered = sum(one.state in ("done", "unsure") for one in tiles)
        longest = max(browser.execute_script("return longTasks"), default=0)
        print(f"photos           {count}, {total / 1e6:.0f} MB")
        print(f"answered         {answered} in {time.monotonic() - started:.0f} s")
        print(f"longest task     {longest:.0f} ms of the page's own thread (50 or more count as long)")
        print(f"browser's memory {before} MB before, {peak} MB at most")
    return 0


def _draw(folder: Path, count: int) -> int:
    folder.mkdir()
    grain = np.random.default_rng(0).integers(-12, 12, (HEIGHT, WIDTH, 1))
    files = []
    for at, photo in enumerate(draw_photos(DIFFERENT)):
        with Image.open(io.BytesIO(photo)) as small:
            large = np.asarray(small.convert("RGB").resize((WIDTH, HEIGHT)), np.int64)
        path = folder / f"{at}.jpg"
        Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8)).save(path, quality=88)
        files.append(path.read_bytes())
        path.unlink()
    for number in range(count):
        (folder / f"{number:04}.jpg").write_bytes(files[number % len(files)])
    return sum(len(files[number % len(files)]) for number in range(count))


def _memory() -> int:
    """Megabytes of the browser's processes. Shared pages count in each process."""
    family = psutil.Process().children(recursive=True)
    rss = 0
    for process in family:
        try:
            rss += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return rss // 2**20


if __name__ == "__main__":
    sys.exit(main())
