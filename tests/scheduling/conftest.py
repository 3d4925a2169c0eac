"""A field of nodes for each test, and its makers on the path."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from making import Field  # noqa: E402


@pytest.fixture
def field() -> Field:
    return Field()
