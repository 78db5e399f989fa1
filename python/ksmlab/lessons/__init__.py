"""Lessons: one source file is a page, a script that plays in a VM, and a test.

``source`` reads the file, ``terminal`` types at a VM's console, ``play`` and ``check`` use both,
``recorded`` keeps what came back, and ``varying`` says which parts of it may be otherwise next time.
"""
