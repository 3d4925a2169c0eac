"""What the guides show works as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

from sampan.meta.wire import yaml
from sampan.node.runtime import behaviour
from sampan.testing import report, setups, virtual_time  # noqa: F401 (runs inside this process share what is loaded)
from tests.testing import plugged

pytest_plugins = ["pytester"]

GUIDES = Path(__file__).parents[2] / "docs" / "guide"
GUIDE = GUIDES / "simulated-pods.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """Each behind as many empty lines as it has lines before it, so that a failure names the right one."""
    guide = GUIDE.read_text()
    return ["\n" * guide.count("\n", 0, m.start(2)) + m[2] for m in BLOCK.finditer(guide) if m[1] == language]


def pod(app: str, image: str, **spec: Any) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
    container = {"name": "main", "image": image, "readinessProbe": probe}
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container]} | spec}


@pytest.mark.parametrize("number", range(3))
def test_simulated_pods(number: int) -> None:
    """Each example of the guide runs."""
    template = pod("web", "registry.example/web:3")
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    single = pod("import", "import:1", restartPolicy="OnFailure")
    single = {"apiVersion": "v1", "kind": "Pod", **single, "metadata": {"name": "import", **single["metadata"]}}
    examples = blocks("python")
    assert len(examples) == 3
    exec(compile(examples[number], str(GUIDE), "exec"), {"DEPLOYMENT": deployment, "POD": single})  # noqa: S102


def test_behaviours_of_the_guide() -> None:
    """What it shows of annotations and words is understood."""
    annotations, words = blocks("yaml")
    for text in yaml.decode(annotations.encode())["metadata"]["annotations"].values():
        behaviour.read(text)
    (case,) = behaviour.read(words)
    assert case.life is not None
    assert (case.life.exit.code, len(case.life.stages)) == (1, 2)


PROJECT = re.compile(r"^```\w+\n# ([\w/.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_an_operator_over_a_week(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project that the guide shows passes its test."""
    for name, text in PROJECT.findall((GUIDES / "kopf-operator.md").read_text()):
        file = pytester.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    for name, given in plugged.ENVIRONMENT.items():
        monkeypatch.setenv(name, given)
    pytester.runpytest_inprocess(*plugged.ARGUMENTS).assert_outcomes(passed=1)
