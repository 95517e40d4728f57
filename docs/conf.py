"""Sphinx configuration; build with ``sphinx-build -W --keep-going -n docs docs/_build/html``."""

import sys
from importlib.metadata import version as _version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "exactrelu"
author = "The exactrelu developers"
version = release = _version("exactrelu")

extensions = [
    "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc", "myst_parser", "benchtable",
]  # fmt: skip
exclude_patterns = ["_build", "_ext", "_templates"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"exactrelu {release}"
html_static_path = ["_static"]

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc describes the types, with shapes
autodoc_member_order = "bysource"
default_role = "autolink"  # `train` in a docstring is a link where train is public, and code elsewhere
numpydoc_show_class_members = False

# What a docstring names with single backticks, and what is not documented here: other libraries, private modules,
# parameters, and fields of dataclasses (they stand in the lists of attributes).
nitpick_ignore_regex = [
    ("py:obj", r"(numpy|scipy|sklearn|joblib|matplotlib)\..*"),
    ("py:obj", r"(.*\.)?_[a-z].*"),
    ("py:obj", r"(.*\.)?(truncation_factor|history|network)"),
    ("py:obj", r"[a-z_]+"),  # parameters
]
