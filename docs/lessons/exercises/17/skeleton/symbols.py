"""The addresses of kernel functions, by name. Complete resolve()."""


class MissingError(Exception):
    """Raised if names are missing. `names` has all missing names, in the order of the request."""

    def __init__(self, names: list[str]) -> None:
        """Store the missing names."""
        super().__init__(", ".join(names))
        self.names = names


def resolve(kallsyms: str, names: list[str]) -> dict[str, int]:
    """Return the addresses of functions of the kernel itself, by name.

    Args:
        kallsyms: the text of /proc/kallsyms. Its lines are "ADDRESS TYPE NAME", and for a symbol of
            a module "ADDRESS TYPE NAME [MODULE]", with a tab before the bracket. Functions have the
            type t or T. If several functions of the kernel have the same name, the first counts.
        names: the names of the functions.

    Raises:
        MissingError: at least one name is missing, is only in a module, or is no function. A
            function with the address 0 is missing, too: the kernel shows 0 to users without
            privileges.
    """
    raise NotImplementedError
