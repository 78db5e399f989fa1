"""How much of the mapping at an address is in huge pages."""


def huge_kib(address: int) -> int:
    """Return AnonHugePages of /proc/self/smaps for one mapping, in KiB."""
    inside = False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            if "-" in line.split()[0]:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                inside = start <= address < end
            elif inside and line.startswith("AnonHugePages"):
                return int(line.split()[1])
    raise LookupError(f"nothing is mapped at {address:#x}")
