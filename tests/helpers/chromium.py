"""Pages in headless Chromium."""

import html
import json
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync --hide-scrollbars "
    "--enable-logging=stderr --dump-dom"
).split()
# Chromium's window has a minimum width, a frame has none.
FRAMES = """<meta charset="utf-8"><body>{frames}<script>
const found = {{}};
for (const frame of document.querySelectorAll("iframe")) {{
  frame.addEventListener("load", () => {{
    found[frame.width] = JSON.parse(frame.contentDocument.body.dataset.found);
    document.body.dataset.found = JSON.stringify(found);
  }});
}}
</script>"""


def look(page, profile, dark=False):
    """The DOM after a page's scripts have run, and the lines they log."""
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    done = subprocess.run(
        [chromium, *OPTIONS, scheme, f"--user-data-dir={profile}", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def evaluate(content, script, folder, widths=(390, 1280), dark=False):
    """The value of a script's expression at the end of a page, by the width of the page.

    Args:
        content: The page's HTML.
        script: Statements that end in the assignment of a JSON value to `found`.
        folder: Holds the files that this takes.
        widths: Widths in pixels.
        dark: Whether the user prefers a dark page.
    """
    hook = (
        f"<script>{{ let found; {script}; document.body.dataset.found = JSON.stringify(found); }}"
    )
    content = html.escape(content.replace("</body>", f"{hook}</script></body>"))
    frames = "".join(
        f'<iframe width="{width}" height="900" style="border: 0" srcdoc="{content}"></iframe>'
        for width in widths
    )
    page = folder / "frames.html"
    page.write_text(FRAMES.format(frames=frames), encoding="utf-8")
    dom, errors = look(page, folder / "profile", dark)
    assert errors == []
    found = json.loads(html.unescape(re.search(r'data-found="([^"]*)"', dom)[1]))
    return {int(width): value for width, value in found.items()}
