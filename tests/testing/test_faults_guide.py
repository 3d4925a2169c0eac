"""What the guide to faults and invariants shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "faults.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"\d+ watches")

POD = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}}
WEB = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
    "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": POD},
}  # fmt: skip
LEASE = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "leader"}}
RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
WEBHOOK = {
    "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "policy"},
    "webhooks": [{
        "name": "policy.example.com", "clientConfig": {"url": "https://policy.example.com/check"}, "rules": [RULE],
        "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
    }],
}  # fmt: skip


def blocks(language: str) -> list[str]:
    """Each behind as many empty lines as it has lines before it, so that a failure names the right one."""
    guide = GUIDE.read_text()
    return ["\n" * guide.count("\n", 0, m.start(2)) + m[2] for m in BLOCK.finditer(guide) if m[1] == language]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6))
def test_the_examples(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each runs; the last one tells what the guide says that it tells."""
    examples = blocks("python")
    assert len(examples) == 6
    names: dict[str, Any] = {"WEB": WEB, "LEASE": LEASE, "WEBHOOK": WEBHOOK}
    exec(compile(examples[number], str(GUIDE), "exec"), names)  # noqa: S102
    if number == 5:
        (shown,) = blocks("text")
        told = NUMBER.sub("watches", capsys.readouterr().out)
        assert told.startswith(NUMBER.sub("watches", shown.strip("\n")))
