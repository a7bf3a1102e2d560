"""What several draws are called."""

from pathlib import Path


def outputs(out: Path, count: int) -> tuple[Path, ...]:
    """Where so many draws go: `out`, or NAME-1.csv, NAME-2.csv, … beside it."""
    if count == 1:
        return (out,)
    return tuple(out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, count + 1))
