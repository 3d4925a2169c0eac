"""What users write into rollouts and analyses stays theirs: no other namespace, no secrets shown, no harm to others' analyses."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sampan.control.plan import Ask, AskHttp, HttpAnswer, Plan, Update
from sampan.control.view import Snapshot, View
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.service import SERVICE
from sampan.platform.rollouts import analysis_run, masking, providers, validation
from sampan.platform.rollouts.kinds import ANALYSISRUN

Object = dict[str, Any]
LONG = 3_000_000


def run(*metrics: Object, **spec: Any) -> Object:
    metadata = {"name": "run", "namespace": "default", "uid": "u", "resourceVersion": "1"}
    made = {"metrics": list(metrics), **spec}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": metadata, "spec": made}


def web(name: str = "m", **given: Any) -> Object:
    return {"name": name, "successCondition": "true", "provider": {"web": {"url": "http://shop.host/x", **given}}}


def look(given: Object, answers: Mapping[Any, Any]) -> Plan:
    sources = {ANALYSISRUN.resource: Snapshot([given]), JOB.resource: Snapshot([])}
    return analysis_run.reconcile(View(sources, answers=answers), ("default", "run"), 1000.0)


def answered(given: Object, answer: Any, secret: str = "") -> Object:
    """The status, when everything that is asked over HTTP has this answer."""
    answers: dict[Any, Any] = {}
    for _ in range(4):
        plan = look(given, answers)
        if not plan.ask:
            (write,) = plan.stages[-1].writes
            assert isinstance(write, Update)
            found: Object = write.obj["status"]
            return found
        for question in plan.ask:
            answers[question] = {"data": {"key": secret}} if isinstance(question, Ask) else answer
    raise AssertionError("endless questions")


SECRET = [{"name": "t", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}}]
ENCODED = "VE9QIFNFQ1JFVCIK"  # TOP SECRET"\n


@pytest.mark.parametrize(
    "answer",
    [
        'Get "http://shop.host/?token=TOP SECRET"\n": connection refused',
        'Get "http://shop.host/?token=TOP%20SECRET%22": connection refused',
        HttpAnswer(200, json.dumps({"echo": 'TOP SECRET"\n'})),
        HttpAnswer(200, 'you said TOP SECRET"'),
        HttpAnswer(200, "TOP+SECRET%22"),
    ],
)
def test_no_secret_is_shown(answer: Any) -> None:
    """Neither in a value nor in a message, in whichever form it comes back."""
    found = json.dumps(answered(run(web(url="http://shop.host/?token={{args.t}}"), args=SECRET), answer, ENCODED))
    assert masking.MASK in found
    assert "SECRET" not in found


def test_no_secret_is_shown_by_what_is_wrong() -> None:
    """Fields are quoted in messages, and metrics are known by their names."""
    found = answered(run({**web(), "interval": "{{args.t}}"}, args=SECRET), "", ENCODED)
    assert (found["phase"], "TOP" in found["message"]) == ("Error", False)
    found = answered(run(web(name="{{args.t}}"), args=SECRET), "", ENCODED)
    assert found["message"].endswith("a metric's name must not hold a secret")
    assert "TOP" not in json.dumps(found)


@pytest.mark.parametrize(
    ("provider", "why"),
    [
        ({"web": 5}, "provider.web: must be an object"),
        ({"web": {"url": "http://x", "timeoutSeconds": "abc"}}, "provider.web.timeoutSeconds: must be a number"),
        ({"web": {"url": "http://x", "timeoutSeconds": "nan"}}, "provider.web.timeoutSeconds: must be a number"),
        ({"prometheus": {"timeout": [1]}}, "provider.prometheus.timeout: must be a number"),
        ({"web": {"method": "GET /\r\nX:"}}, "provider.web.method: must be a method"),
        ({"web": {"headers": {"a": "b"}}}, "provider.web.headers: must be a list"),
        ({"web": {"headers": ["a"]}}, "provider.web.headers[0]: must be an object"),
        ({"web": {"headers": [{"value": "x"}]}}, "provider.web.headers[0].key: must be the name"),
        ({"web": {"headers": [{"key": "a", "value": "x\nb: c"}]}}, "provider.web.headers[0].value: must be one line"),
        ({"job": {"spec": 5}}, "provider.job.spec: must be an object"),
        ({"job": {"metadata": {"labels": 5}}}, "provider.job.metadata.labels: must be an object"),
        ({"plugin": {"sampan/gateway": 5}}, "provider.plugin[sampan/gateway]: must be an object"),
        ({"plugin": {"sampan/gateway": {"service": "s", "window": [5]}}}, "provider.plugin[sampan/gateway].window: "),
        (
            {"plugin": {"sampan/gateway": {"service": "s", "namespace": "theirs"}}},
            "provider.plugin[sampan/gateway].namespace: must be the analysis' own, ",
        ),
    ],
)
def test_what_can_not_be_asked_is_an_error(provider: Object, why: str) -> None:
    """The run ends, and says which field."""
    found = answered(run({"name": "m", "provider": provider}), "")
    assert found["phase"] == "Error"
    assert f"spec.metrics[0].{why}" in found["message"]


def test_long_answers_are_not_kept_whole() -> None:
    """The condition sees all of it, the status has the beginning."""
    metric = {**web(), "successCondition": f"len(result) == {LONG}"}
    found = answered(run(metric), HttpAnswer(200, "x" * LONG))
    assert found["phase"] == "Successful"
    assert len(found["metricResults"][0]["measurements"][0]["value"]) < 2000
    found = answered(run(web(jsonPath="{$.a}")), HttpAnswer(200, "[" * 100_000))
    assert found["metricResults"][0]["measurements"][0]["phase"] == "Error"


def test_nobody_waits_long_for_others() -> None:
    """Neither for one answer nor for many; what is left stays due."""
    assert providers.question(web(timeoutSeconds=1_000_000)).timeout_seconds == providers.MAX_SECONDS
    many = run(*[web(f"m{place}", timeoutSeconds=20, url=f"http://shop.host/{place}") for place in range(9)])
    asked = look(many, {}).ask
    assert sum(question.timeout_seconds for question in asked if isinstance(question, AskHttp)) <= 30
    plan = look(many, dict.fromkeys(asked, HttpAnswer(200, "1")))
    assert (plan.ask, plan.again) == ((), 0.0)


def test_a_route_of_another_namespace() -> None:
    """Whoever may write rollouts here may not move traffic there."""
    routing: Object = {"plugins": {validation.GATEWAY_API: {"httpRoute": "web", "namespace": "theirs"}}}
    canary = {"canaryService": "a", "stableService": "b", "trafficRouting": routing}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template, "strategy": {"canary": canary}}
    rollout = {"metadata": {"name": "web", "namespace": "ours"}, "spec": spec}
    services = [{"metadata": {"name": name, "namespace": "ours"}} for name in ("a", "b")]
    view = View({SERVICE.resource: Snapshot(services)})
    where = f"spec.strategy.canary.trafficRouting.plugins[{validation.GATEWAY_API}].namespace"
    found = validation.wrong(view, rollout)
    assert found.endswith(f'{where}: Invalid value: "theirs": must be the namespace of the Rollout')
    routing["plugins"][validation.GATEWAY_API]["namespace"] = "ours"
    assert validation.wrong(view, rollout) == ""
