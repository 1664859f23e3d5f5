"""The site: ``pip install -e ".[docs]" && python -m sphinx -W docs build/site``. What is generated is in `_ext`."""

import sys
from pathlib import Path

import oflow

sys.path.insert(0, str(Path(__file__).parent))

project, author = "oflow", "the authors of oflow"
version = release = oflow.__version__
project_copyright = "the authors of oflow, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "_ext.site"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_ext"]
myst_heading_anchors = 3

# docstrings name code by single backticks, and arguments by their types
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
maximum_signature_line_length = 100
add_module_names = False

smartquotes = False
highlight_language = "text"

html_theme = "furo"
html_title = f"oflow {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "default", "github-dark"
