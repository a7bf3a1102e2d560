"""Checks shared by configurations."""

from vlb.base.errors import UserError


def positive(name: str, value: float) -> None:
    """Raises `UserError` unless `value` is positive."""
    if not value > 0:
        raise UserError(f"{name} must be positive, not {value}")
