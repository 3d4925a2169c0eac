"""What loading code fast leaves as it was."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.cluster import loading
from sampan.kit.clock import SystemClock
from sampan.web import certificates

LOOK = """
import gc, os, ssl, sys
from sampan.cluster import loading
with loading.fast():
    assert not gc.isenabled()
from aiohttp import connector
assert gc.isenabled()
print(os.environ.get("SSL_CERT_FILE"), len(ssl.create_default_context().get_ca_certs()))
print(len(connector._SSL_CONTEXT_VERIFIED.get_ca_certs()))
"""


@pytest.mark.parametrize("is_given", [True, False])
def test_authorities_are_there_for_those_who_ask(tmp_path: Path, is_given: bool) -> None:
    """Only the default that nobody uses is made without them; and garbage is collected again."""
    file = tmp_path / "trusted.crt"
    file.write_bytes(certificates.new_authority("world", SystemClock().now()).certificate)
    environment = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
    if is_given:
        environment["SSL_CERT_FILE"] = str(file)
    done = subprocess.run([sys.executable, "-c", LOOK], env=environment, check=True, capture_output=True, text=True)
    restored, unused = done.stdout.splitlines()
    assert unused == "0"
    if is_given:
        assert restored == f"{file} 1"
    else:
        assert restored.startswith("None ")


def test_a_registry_is_trusted_as_the_world_trusts_it(tmp_path: Path) -> None:
    """By an agent that was loaded so: what is signed by a trusted authority and nobody else."""
    file = tmp_path / "trusted.crt"
    file.write_bytes(certificates.new_authority("world", SystemClock().now()).certificate)
    look = """
import ssl
from sampan.cluster import loading
with loading.fast():
    from sampan.node.registry import session
    from sampan.node.registry.config import Endpoint
for url in ("https://registry.example", "http://registry.example"):  # that may send to an issuer of tokens elsewhere
    context = session._context(Endpoint(url, "web"))
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    print(len(context.get_ca_certs()))
"""
    environment = {**os.environ, "SSL_CERT_FILE": str(file)}
    done = subprocess.run([sys.executable, "-c", look], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "1"]


def test_garbage_is_collected_after_a_failure() -> None:
    """What can't be loaded is an error, and no process that grows for ever."""
    with pytest.raises(ImportError), loading.fast():
        raise ImportError
    assert gc.isenabled()
