"""A kubeconfig's context becomes everything needed to reach its server."""

import base64
from pathlib import Path

import pytest

from sampan.client import kubeconfig

TEXT = """
current-context: c
contexts: [{name: c, context: {cluster: k, user: u, namespace: n}}]
clusters: [{name: k, cluster: {server: "https://h:6443", certificate-authority-data: %s}}]
users: [{name: u, user: {client-certificate: crt.pem, token: t}}]
"""


def test_embedded_data_and_files_are_read(tmp_path: Path) -> None:
    """Embedded data is decoded; a relative file lies beside the kubeconfig."""
    (tmp_path / "crt.pem").write_text("CRT")
    (tmp_path / "config").write_text(TEXT % base64.b64encode(b"CA").decode())
    access = kubeconfig.load(tmp_path / "config")
    assert (access.server, access.ca, access.certificate) == ("https://h:6443", "CA", "CRT")
    assert (access.current_token(), access.namespace) == ("t", "n")


def test_a_missing_context_is_named(tmp_path: Path) -> None:
    """The error says which context is not there."""
    (tmp_path / "config").write_text("{}")
    with pytest.raises(ValueError, match='no context "x"'):
        kubeconfig.load(tmp_path / "config", "x")
