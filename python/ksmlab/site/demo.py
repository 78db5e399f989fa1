"""Show the page that `make demo` writes in a frame of the front page, made from a stored run.

A paragraph of the class `demo` has the picture for viewers without the site. On the site, the frame takes its place on
screens; a print has the picture.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

from ksmlab.demo import page
from ksmlab.demo.record import RunRecord
from ksmlab.lessons.excerpt import CHECKOUT
from ksmlab.site import schemes

RUN = CHECKOUT / "tests/unit/data/demo-run.json"
TITLE = (
    "Pages and frames of three processes, before and after a merge. Choose a page to see its frame."
)
DIRECTORY = "demo"
FRAME = (
    '<div class="demo-frame only-{scheme}"><iframe src="{page}" title="{title}" loading="lazy"></iframe>'
    '<p><a href="{page}">Open this page alone</a></p></div>'
)


class DemoFrame(SphinxPostTransform):
    """Put the frame before the paragraph of the class `demo`."""

    default_priority = 510
    formats = ("html",)

    def run(self, **_: object) -> None:
        """Put the frame into one page."""
        for picture in list(self.document.findall(nodes.paragraph)):
            if "demo" not in picture["classes"]:
                continue
            target = self.app.builder.get_relative_uri(self.env.docname, DIRECTORY).removesuffix(
                ".html"
            )
            frames = "".join(
                FRAME.format(scheme=scheme, page=f"{target}/{scheme}.html", title=TITLE)
                for scheme in schemes.SCHEMES
            )
            picture["classes"] += ["print-only"]
            parent = picture.parent
            parent.insert(parent.index(picture), nodes.raw("", frames, format="html"))
            write(Path(self.app.outdir) / DIRECTORY)


def write(directory: Path) -> None:
    """Write the light and the dark page of the stored run into a directory.

    Raises:
        OSError: It cannot be written to.
        FormatError: The stored run is of another format.
    """
    directory.mkdir(parents=True, exist_ok=True)
    text = page.html(RunRecord.read(RUN), embedded=True)
    for scheme in schemes.SCHEMES:
        (directory / f"{scheme}.html").write_text(schemes.resolve(text, scheme))
