"""Put a secret into one page, and register the page unless the second argument is --unregistered."""

import sys

from page import PAGES, secret_page

from ksmlab.device import KsmDevice
from ksmlab.memory import Arena

register = sys.argv[2:] != ["--unregistered"]
with Arena(PAGES, huge=False) as arena, KsmDevice() as device, device.create_area() as area:
    arena.view(0, 1)[:] = secret_page(int(sys.argv[1]))
    if register:
        area.register(arena)
    print("the secret is in memory", flush=True)
    sys.stdin.readline()
