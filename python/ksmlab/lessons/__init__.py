"""Lessons: one Markdown file is a page, a script that plays in a VM, and a test.

``source`` reads the page, ``terminal`` types at a VM's console, ``play`` uses both, ``recorded`` writes the output into
the page, and ``varying`` compares outputs except for the parts that differ from run to run.
"""
