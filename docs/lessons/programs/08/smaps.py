"""What /proc/self/smaps says of the mapping at an address, in KiB."""


def smaps(address: int) -> dict[str, int]:
    """Return Rss, Pss, Anonymous and Shared_Clean of one mapping."""
    wanted = ("Rss", "Pss", "Anonymous", "Shared_Clean")
    found: dict[str, int] = {}
    inside = False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if "-" in line.split()[0]:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                inside = start <= address < end
            elif inside and name in wanted:
                found[name] = int(rest.split()[0])
    return found
