"""How Sphinx builds the pages: from Markdown and docstrings, without anything from a network.

GALLERY=0 leaves the scripts of the gallery and the notebooks unexecuted.
"""

import logging
import os
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import figures  # noqa: E402

import igsref  # noqa: E402

project = "igsref"
author = "the igsref authors"
version = release = igsref.__version__

# The scripts of the gallery write here, and start from nothing.
shutil.rmtree(figures.FOLDER, ignore_errors=True)
figures.FOLDER.mkdir(parents=True)

# What fonts a figure's PDF holds is no news.
logging.getLogger("fontTools").setLevel(logging.WARNING)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "plain_docstrings",
]
exclude_patterns = ["_build", "_ext", "results", "gallery", "notebooks"]

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"igsref {release}"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]

# A page with its pictures and its notebook for every script; Markdown pages are not of its kind.
sphinx_gallery_conf = {
    "examples_dirs": ["gallery", "notebooks"],
    "gallery_dirs": ["pictures", "worked"],
    "filename_pattern": r"\.py$",
    "plot_gallery": os.environ.get("GALLERY", "1") != "0",
    "abort_on_example_error": True,
    "image_scrapers": ("matplotlib", "figures.scraper"),
    "reset_modules": (),
    "remove_config_comments": True,
    "show_memory": False,
    "download_all_examples": False,
}
