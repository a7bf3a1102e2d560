"""How much may come of how little: one limit for whatever is unpacked out of files that come from anywhere."""

FREE = 1 << 28  # bytes that any file may become, however little it is


def most(stored: int, ratio: int) -> int:
    """How many bytes `stored` bytes may become: `FREE`, and `ratio` for each."""
    return FREE + ratio * stored
