"""What a machine cannot bear, as a person is told of it."""


def too_large(error: Exception) -> bool:
    """Whether memory ran out, on whatever device, or a size is beyond all memory: torch has no one type for it."""
    signs = ("allocate memory", "out of memory", "Overflow when unpacking", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)
