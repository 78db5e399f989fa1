"""The page that holds the secret. Its layout is public; only the number is secret."""

PAGES = 1


def secret_page(number: int) -> bytes:
    """Make a page as some program would have it in memory: a header, the number, and zeros."""
    return f"# door.conf\nopen_with = {number:04}\n".encode().ljust(4096, b"\0")
