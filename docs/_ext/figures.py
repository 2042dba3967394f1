"""Pictures for the gallery: the PNG files that a script writes below out/gallery."""

from pathlib import Path
from typing import Any

from sphinx_gallery.scrapers import figure_rst

FOLDER = Path(__file__).resolve().parents[2] / "out" / "gallery"


def scraper(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Show what a block has written, below it, and take it away, so that it is shown once.

    The scripts of toy/ save their figures and never draw on pyplot's, for which sphinx-gallery
    looks by itself.
    """
    found = []
    for written in sorted(FOLDER.rglob("*.png")):
        path = next(block_vars["image_path_iterator"])
        written.rename(path)
        found.append(path)
    # One below the other, each as wide as the page.
    return "\n".join(figure_rst([path], gallery_conf["src_dir"]) for path in found)
