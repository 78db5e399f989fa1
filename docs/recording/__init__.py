"""A command on a terminal, recorded and drawn as an animated SVG.

In docs/: ``python -m recording record demo.cast -- make demo``, then ``python -m recording draw demo.cast demo.svg``.
``--since REGEX`` starts the drawing at the first output that matches.
"""
