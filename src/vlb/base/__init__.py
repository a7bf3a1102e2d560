"""Errors, files, and configurations as typed data: what everything stands on, without torch."""
