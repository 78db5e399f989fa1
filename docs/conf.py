"""How Sphinx makes the documentation; `make docs` calls it."""

import os
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
project = "/dev/ksm lab"
version = release = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]
copyright = "GPL-2.0"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "ksmlab.site",
]
exclude_patterns = [
    "lessons/programs",
    "lessons/exercises",
]
# Headings that a link may name.
myst_heading_anchors = 3
# A class for the next block, in braces; ksmlab.site.comments writes it.
myst_enable_extensions = ["attrs_block"]

# Every link within the site has to lead somewhere. What the kernel and Python define is documented elsewhere.
nitpicky = True
nitpick_ignore_regex = [
    ("c:.*", r".*"),
    (
        "py:.*",
        r"(pathlib|collections|ctypes|array|enum|fcntl|typing|re|subprocess|threading|types|os)\..*",
    ),
    ("py:.*", r"[A-Za-z_]+"),
    # What stands before a colon in the docstring of a property is taken for its type.
    ("py:class", r".* .*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = "/dev/ksm lab"
html_static_path = ["_static"]
html_css_files = [
    "pages.css",
    "stepper.css",
    "front.css",
    "terms.css",
    "transcript.css",
    "replay.css",
    "print.css",
]
html_js_files = [(name, {"defer": "defer"}) for name in ("stepper.js", "terms.js", "replay.js")]
html_favicon = "_static/favicon.svg"
# The address at which the site is published; pages that tell their address need it.
html_baseurl = os.environ.get("SITE_URL", "")
if html_baseurl:
    html_baseurl = html_baseurl.rstrip("/") + "/"
html_search_scorer = str(CHECKOUT / "docs/search.js")
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

copybutton_selector = "div.highlight pre"
copybutton_prompt_text = r"vm:\S*# |>>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# A build must not depend on other sites.
linkcheck_ignore = [r"https?://", r"mailto:"]
