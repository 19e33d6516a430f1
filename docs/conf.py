"""Sphinx settings of the documentation: `nox -s docs` builds it into build/docs."""

import sys
from pathlib import Path

from sphinx.ext.autodoc.mock import _MockObject

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from fast_style import __version__  # noqa: E402

project = "Fast Style"
author = "The Fast Style authors"
project_copyright = "2026, The Fast Style authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "option_docs"]
exclude_patterns = ["styles"]
default_role = "code"  # `name` in docstrings
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # included files begin with a heading of their own

# The reference is built from signatures and docstrings alone, so the heavy packages need not be
# installed.
autodoc_mock_imports = ["matplotlib", "pytorch_lightning", "torch", "torchvision"]
_MockObject.__or__ = _MockObject.__ror__ = lambda self, other: self  # for `Tensor | None`
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
python_display_short_literal_types = True
autodoc_preserve_defaults = True
autodoc_class_signature = "separated"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

smartquotes_action = "qe"  # `--option` keeps its two hyphens
html_theme = "furo"
html_title = "Fast Style"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
# Furo's fonts are those of the visitor's system: the site loads nothing from other hosts.
