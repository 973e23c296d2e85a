"""Fixtures named by noun. This folder is on the path of the tests: `from factories import ...` works anywhere."""

from __future__ import annotations
