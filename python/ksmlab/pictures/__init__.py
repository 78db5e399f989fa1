"""Pictures of memory: a square for each page, coloured by the frame that several pages share.

``look`` and ``guest`` run where the driver is loaded; ``render`` makes SVG of what they saw.
"""
