"""Build the /dev/ksm driver, load it in a VM, and check that it merges pages."""
