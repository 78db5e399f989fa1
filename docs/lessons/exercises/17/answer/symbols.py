"""The addresses of kernel functions, by name."""


class MissingError(Exception):
    """Raised if names are missing. `names` has all missing names, in the order of the request."""

    def __init__(self, names: list[str]) -> None:
        """Store the missing names."""
        super().__init__(", ".join(names))
        self.names = names


def resolve(kallsyms: str, names: list[str]) -> dict[str, int]:
    """Return the addresses of functions of the kernel itself, by name."""
    found: dict[str, int] = {}
    for line in kallsyms.splitlines():
        address, kind, name, *module = line.split()
        if not module and kind in "tT" and int(address, 16):
            found.setdefault(name, int(address, 16))
    missing = [name for name in names if name not in found]
    if missing:
        raise MissingError(missing)
    return {name: found[name] for name in names}
