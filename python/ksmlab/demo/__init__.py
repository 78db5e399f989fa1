"""The demonstration: three processes, their memory merged, and every claim checked.

It runs where the driver is loaded, as root: ``python -m ksmlab.demo``.
"""
