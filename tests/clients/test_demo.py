"""The first thing a user runs: the demo, with its image, its application and its page."""

import re
import urllib.parse
import urllib.request

import pytest

from tests.clients.conftest import Cluster, needs_root

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(240)]


def test_the_demo_answers(cluster: Cluster) -> None:
    """It prints the page with its URL; the page takes an entry and shows it; a second run is as good."""
    options = ("--kubeconfig", str(cluster.kubeconfig), "--yes")
    shown = cluster.sampan("demo", *options)
    assert "<h1>Guestbook</h1>" in shown and "Try next:" in shown
    found = re.search(r"The guestbook answers at (http://\S+/)", shown)
    assert found
    url = found.group(1)
    body = urllib.parse.urlencode({"text": "hello <b>"}).encode()
    with urllib.request.urlopen(url, data=body, timeout=10) as answer:
        assert "<li>hello &lt;b&gt;</li>" in answer.read().decode()
    again = cluster.sampan("demo", *options)
    assert "is there already" in again and "hello" in again
    manifest = "deployment/guestbook,deployment/guestbook-backend,service/guestbook,service/guestbook-backend"
    cluster.kubectl("delete", "-n", "default", *manifest.replace(",", " ").split())
    cluster.until("no pods", lambda: not cluster.get("pods", "-n", "default", "-l", "app=guestbook")["items"])
