"""Lessons. Each is a Markdown file, which serves as a page, as a script to play in a VM, and as a test.

``source`` reads a page, ``terminal`` types its commands at the console of a VM, ``play`` uses both, ``recorded`` writes
the output to the page, and ``varying`` compares outputs except for the parts that differ from run to run.
"""
