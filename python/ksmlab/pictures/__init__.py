"""Draw pictures of memory: each page is a square, and pages that share a frame have the same colour.

``look`` and ``guest`` run on a machine where the driver is loaded, and read page frames. ``render`` draws them as SVG.
"""
