"""A server has as many descriptors as it is allowed."""

import subprocess
import sys

import pytest

CODE = """
import resource
from sampan.kit import descriptors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
assert descriptors.given() is None
descriptors.take_all()
descriptors.take_all()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, descriptors.MOST), hard)
assert descriptors.given() == (64, hard)
"""
ENOUGH = """
import resource
from sampan.kit import descriptors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
before = min(hard, descriptors.MOST), hard
resource.setrlimit(resource.RLIMIT_NOFILE, before)
descriptors.take_all()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
assert descriptors.given() is None
"""


@pytest.mark.parametrize("code", [CODE, ENOUGH])
def test_the_limit_is_raised(code: str) -> None:
    """From what programs get that use select(2) to the hard limit, and no further; what it was is remembered."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
