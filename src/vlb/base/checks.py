"""Checks shared by configurations."""

from vlb.base.errors import UserError


def positive(name: str, value: float) -> None:
    """Raises `UserError` unless `value` is positive."""
    if not value > 0:
        raise UserError(f"{name} must be positive, not {value}")


def check_seed(seed: int) -> None:
    """Raises `UserError` for a seed that torch and NumPy do not both take."""
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed is a whole number from 0 to 2^63 − 1, not {seed}")
