"""A page in a real browser without a window: what it complains of, and how it is laid out."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Boxes of text and pictures that do not lie inside each other must not meet, and nothing may be
# wider than the window, tables that scroll aside.
PROBE = """
window.onload = () => {
  const frame = document.querySelector('iframe'), page = frame.contentDocument;
  const start = e => e.outerHTML.slice(0, 80);
  const own = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  const leaves = [...page.body.querySelectorAll('*')].filter(e => e.tagName === 'IMG' || own(e));
  const boxes = leaves.map(e => e.getBoundingClientRect());
  const overlaps = [];
  for (let i = 0; i < leaves.length; i++) for (let j = i + 1; j < leaves.length; j++) {
    if (leaves[i].contains(leaves[j])) continue;
    const a = boxes[i], b = boxes[j];
    const w = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (w > 1 && h > 1) overlaps.push([start(leaves[i]), start(leaves[j])]);
  }
  const outside = leaves.filter(
    (e, k) => boxes[k].right > frame.clientWidth + 1 && !e.closest('.scroll'));
  const found = {
    overlaps, outside: outside.map(start), leaves: leaves.length,
    wider: page.documentElement.scrollWidth - frame.clientWidth,
    broken: [...page.images].filter(i => !i.complete || !i.naturalWidth).length,
  };
  document.title = 'done'; document.getElementById('found').textContent = JSON.stringify(found);
};
"""


def browser() -> str:
    """The name of one that is installed; skips the test where there is none."""
    found = next((name for name in NAMES if shutil.which(name)), None)
    if found is None:
        pytest.skip(f"looked for a browser, {', '.join(NAMES)}; there is none")
    return found


def laid_out(page: Path, width: int, folder: Path) -> dict:
    """How a page lies in a window of so many pixels, and ``console``: what was complained of."""
    name = browser()
    wrapper = folder / f"wrapper-{width}.html"
    source = html.escape(page.read_text("utf-8"), quote=True)
    wrapper.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><iframe srcdoc="{source}" width="{width}"'
        f' height="900" style="border:0"></iframe><pre id="found"></pre><script>{PROBE}</script>',
        "utf-8",
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000"]
    shown = subprocess.run(
        [name, *options, "--dump-dom", wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    match = re.search(r'<pre id="found">(.*?)</pre>', shown.stdout, re.DOTALL)
    assert match and match[1], shown.stdout[-2000:]
    found = json.loads(html.unescape(match[1]))
    found["console"] = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    return found
