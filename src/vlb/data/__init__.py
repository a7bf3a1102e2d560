"""Data: values under a schema with fixed splits, from known sources or from a person's own files."""

from vlb.core.schema import Column
from vlb.data.dataset import Dataset, Split
from vlb.data.sources import load

__all__ = ["Column", "Dataset", "Split", "load"]
