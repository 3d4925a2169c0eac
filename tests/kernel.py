"""What some kernels lack that Sampan runs on: tests that need it are left out there."""

import subprocess
from pathlib import Path

import pytest

from sampan.gateway import envoy_process
from sampan.node.runtime import checks, host

HAS_USERS = checks.features(b'{"linux": {"namespaces": ["user"]}}').user_namespaces
"""Pods can have users of their own: Linux 6.3, and user namespaces."""

HAS_CPUSETS = (host.CGROUPS / "cpuset").is_dir() or (
    host.is_cgroup_v2() and "cpuset" in Path(host.CGROUPS / "cgroup.controllers").read_text().split()
)
"""gVisor wants that controller: a kernel for several CPUs has it."""

needs_users = pytest.mark.skipif(not HAS_USERS, reason="needs a kernel that maps tmpfs to other users")


def require_envoy() -> None:
    """Leaves the test out where there is no Envoy, or none can run: it takes addresses of 48 bits, and user-mode Linux has shorter ones."""
    try:
        program = envoy_process.find()
    except envoy_process.EnvoyMissing:
        pytest.skip("there is no Envoy")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    if said.returncode and "limiting address placement" in said.stderr:
        pytest.skip("needs a kernel that gives Envoy addresses of 48 bits")
