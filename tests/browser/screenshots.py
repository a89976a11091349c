"""Pictures of every page, to look at: python tests/browser/screenshots.py [FOLDER [HTML]]

Desktop and phone, light and dark, into tests/browser/screenshots unless told otherwise.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def main() -> None:
    from playwright.sync_api import sync_playwright

    from tests.browser.conftest import ARGUMENTS
    from tests.browser.faults import SIZES
    from tests.conftest import CHROMIUM
    from tests.pages import PAGES

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("screenshots"))
    html = Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "_build" / "html").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if CHROMIUM is None:
        raise SystemExit("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for theme in ("light", "dark"):
            for size, viewport in SIZES.items():
                context = browser.new_context(viewport=viewport, color_scheme=theme)
                context.add_init_script(f"localStorage.setItem('mode', '{theme}')")
                context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
                tab = context.new_page()
                for page in [*PAGES, "search"]:
                    tab.goto(f"{html.as_uri()}/{page}.html")
                    tab.evaluate("window.MathJax && MathJax.startup && MathJax.startup.promise.then(() => 0)")
                    tab.wait_for_timeout(300)
                    tab.screenshot(
                        path=folder / f"{page.replace('/', '-')}.{size}.{theme}.png", full_page=True
                    )
                context.close()
        browser.close()
    print(folder)


if __name__ == "__main__":
    main()
