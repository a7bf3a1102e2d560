"""Data: whole-number arrays with fixed splits, from known sources or from a person's own files."""

from vlb.data.dataset import Column, Dataset, Split
from vlb.data.sources import load

__all__ = ["Column", "Dataset", "Split", "load"]
