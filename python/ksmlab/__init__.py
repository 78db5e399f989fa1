"""Boot the /dev/ksm driver in a VM, drive it, and prove what it did."""
