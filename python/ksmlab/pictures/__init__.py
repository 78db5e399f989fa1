"""Pictures of memory: a square for each page, a colour for each frame.

``look`` and ``guest`` run where the driver is loaded; ``render`` makes SVG of what they saw.
"""
