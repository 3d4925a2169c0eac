"""A server has as many descriptors as it is allowed."""

import subprocess
import sys

CODE = """
import resource
from sampan.cluster import descriptors
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
descriptors.take_all()
descriptors.take_all()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(hard, descriptors.MOST), hard)
"""


def test_the_limit_is_raised() -> None:
    """From what programs get that use select(2) to the hard limit, and no further."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
