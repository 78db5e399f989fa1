"""Addresses of functions by their names."""


class MissingError(Exception):
    """Some names are not there; names has all of them, in the order in which they were asked for."""

    def __init__(self, names: list[str]) -> None:
        """Keep them."""
        super().__init__(", ".join(names))
        self.names = names


def resolve(kallsyms: str, names: list[str]) -> dict[str, int]:
    """Find functions of the kernel itself."""
    found: dict[str, int] = {}
    for line in kallsyms.splitlines():
        address, kind, name, *module = line.split()
        if not module and kind in "tT" and int(address, 16):
            found.setdefault(name, int(address, 16))
    missing = [name for name in names if name not in found]
    if missing:
        raise MissingError(missing)
    return {name: found[name] for name in names}
