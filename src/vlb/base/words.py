"""How many, in words."""


def so_many(count: float, what: str) -> str:
    """ "1 example", "2 examples", "1,000 examples"."""
    return f"{count:,} {what}{'s' * (count != 1)}"
