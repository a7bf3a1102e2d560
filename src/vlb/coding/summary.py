"""What became of the input of a compression."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from vlb.coding.sequence import Account


@dataclass
class Summary:
    """bytes_in: of the files; unpacked: about what they are without their own compression; values, examples: coded by
    the model; reencoded: names of files whose encoding does not come back, by what of it does not."""

    values: int = 0
    examples: int = 0
    bytes_in: int = 0
    unpacked: int = 0
    bytes_out: int = 0
    model_bytes: int = 0
    accounts: list[Account] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    reencoded: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def gross(self) -> float:
        """Bits per value of the whole file, an embedded model left out; NaN without any values."""
        return 8 * (self.bytes_out - self.model_bytes) / self.values if self.values else float("nan")

    @property
    def gross_with_model(self) -> float:
        """Bits per value of the whole file."""
        return 8 * self.bytes_out / self.values if self.values else float("nan")

    @property
    def net(self) -> float:
        """Bits per value that bits-back coding added, the direct ones left out; NaN without any."""
        return rate(self.accounts)


def rate(accounts: Iterable[Account]) -> float:
    """Bits per value of the examples that were coded with bits back; NaN without any."""
    coded, bits = 0, 0.0
    for account in accounts:
        coded += account.coded
        bits += account.net
    return bits / coded if coded else float("nan")
