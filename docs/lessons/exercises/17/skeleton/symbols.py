"""Addresses of functions by their names. Fill in resolve()."""


class MissingError(Exception):
    """Some names are not there; names has all of them, in the order in which they were asked for."""

    def __init__(self, names: list[str]) -> None:
        """Keep them."""
        super().__init__(", ".join(names))
        self.names = names


def resolve(kallsyms: str, names: list[str]) -> dict[str, int]:
    """Find functions of the kernel itself.

    Args:
        kallsyms: lines "ADDRESS TYPE NAME", and for what is in a module "ADDRESS TYPE NAME [MODULE]",
            with a tab before the bracket. Functions have the type t or T.
        names: what is wanted.

    Raises:
        MissingError: at least one is not there, or is only in a module, or is no function. Also if
            the addresses are all zero, as they are for those who may not see them.
    """
    raise NotImplementedError
