"""The demonstration: the driver merges memory of three processes, and each step is checked.

Run it as root on a machine where the driver is loaded: ``python -m ksmlab.demo``.
"""
