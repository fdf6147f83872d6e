"""Takes the picture of the last run's report for the README: `python docs/take_picture.py`, with Chromium installed."""

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
NAMES = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Write `docs/images/report.png` from `reports/index.html`."""
    browser_path = next(filter(None, map(shutil.which, NAMES)), None)
    if browser_path is None:
        sys.exit(f"Chromium was not found: {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 1000}, color_scheme="light")
        page.goto((ROOT / "reports/index.html").as_uri())
        taken = Image.open(BytesIO(page.screenshot()))
        browser.close()
    small = taken.convert("RGB").quantize(256, dither=Image.Dither.NONE)  # half the bytes
    small.save(ROOT / "docs/images/report.png", optimize=True)


if __name__ == "__main__":
    main()
