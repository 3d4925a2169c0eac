"""The first thing a user runs: the demo. The guestbook with its page; and a trading day, which is broken off and reported on."""

import json
import os
import re
import signal
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import NAME, TRUSTING, Cluster, needs_root, running
from tests.kernel import require_envoy

pytestmark = [needs_root, pytest.mark.root]


def test_the_guestbook_answers(cluster: Cluster) -> None:
    """It prints the page with its URL; the page takes an entry and shows it; a second run is as good."""
    options = ("guestbook", "--kubeconfig", str(cluster.kubeconfig), "--yes")
    shown = cluster.sampan("demo", *options)
    assert "<h1>Guestbook</h1>" in shown and "Try next:" in shown
    found = re.search(r"The guestbook answers at (http://\S+/)", shown)
    assert found
    url = found.group(1)
    body = urllib.parse.urlencode({"text": "hello <b>"}).encode()
    with urllib.request.urlopen(url, data=body, timeout=60) as answer:
        assert "<li>hello &lt;b&gt;</li>" in answer.read().decode()
    again = cluster.sampan("demo", *options)
    assert "is there already" in again and "hello" in again
    manifest = "deployment/guestbook,deployment/guestbook-backend,service/guestbook,service/guestbook-backend"
    cluster.kubectl("delete", "-n", "default", *manifest.replace(",", " ").split())
    cluster.until("no pods", lambda: not cluster.get("pods", "-n", "default", "-l", "app=guestbook")["items"])


def test_a_trading_day_until_it_is_broken_off(tmp_path: Path) -> None:
    """The peak is served without a failure, the deletion refused, the bad version rolled back; Ctrl-C gives the report so far.

    The day is a short one, of which the lead of the schedule is a large part: it takes less room than a fixed fleet, but
    more than half of it. Nothing stays behind.
    """
    require_envoy()
    with running(tmp_path, f"{NAME}-day") as day:
        shown, tree = broken_off(day, "v2 is rolled back", tmp_path / "report.json")
        met = {check["title"]: check["isMet"] for check in tree["checks"]}
        assert met["the peak is 20 times the valley"] and met["no order fails at the peak"], shown
        assert met["the namespace can't be deleted"] and met["v2, which is bad, goes back by itself"], shown
        assert tree["orders"]["failed"] == 0 and tree["orders"]["answered"] > 1000, shown
        assert 0 < tree["orders"]["answeredBadly"] < 100, shown
        assert tree["podSeconds"] < tree["fixedPodSeconds"], shown
        assert "Try next:" in shown
        url = re.search(r"The market answers at (http://\S+/)", shown)
        assert url
        with urllib.request.urlopen(url.group(1), timeout=60) as answer:
            assert answer.headers["x-version"] == "v1"
        assert "delete-protection" in day.refused("delete", "namespace", "trading-day")


def broken_off(day: Cluster, when: str, report: Path) -> tuple[str, dict[str, Any]]:
    """A day of a minute and a half, interrupted as soon as it says something: all that it said, and its report."""
    where = ("--name", day.name, "--data-dir", str(day.directory), "--kubeconfig", str(day.kubeconfig))
    options = ("--yes", *TRUSTING, "--minutes", "1.5", "--json", str(report))
    with subprocess.Popen(
        ["sampan", "demo", *where, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**day.environment, "PYTHONUNBUFFERED": "1"},
    ) as child:
        assert child.stdout
        said: list[str] = []
        for line in child.stdout:
            said.append(line)
            if when in line:
                os.kill(child.pid, signal.SIGINT)
                break
        said.extend(child.stdout)
        assert child.wait() == 1
    shown = "".join(said)
    assert any(when in line for line in said), shown
    assert "sampan demo: the day was broken off" in shown and "What was promised" in shown, shown
    return shown, json.loads(report.read_text())
