"""An AnalysisRun: measures its metrics when they are due, until one of them has failed or all have succeeded.

https://argo-rollouts.readthedocs.io/en/stable/features/analysis/
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sampan.control import own
from sampan.control.controller import Controller
from sampan.control.plan import NOTHING, Ask, AskHttp, Create, Event, Key, Plan, Question, Update, Write, plan
from sampan.control.view import UNANSWERED, View
from sampan.kinds.batch.job import JOB
from sampan.kinds.core.secret import SECRET
from sampan.kinds.kind import Object
from sampan.meta import conditions, objects, timestamps
from sampan.platform.rollouts import args, expressions, gateway_metrics, masking, measuring, providers, rules
from sampan.platform.rollouts.kinds import ANALYSISRUN
from sampan.platform.rollouts.measuring import COMPLETED, ERROR, FAILED, INCONCLUSIVE, PENDING, RUNNING, SUCCESSFUL

JOB_NAME, COUNTERS = "job-name", "counters"
_EARLY_SECONDS = 0.001
_LOOK_SECONDS = 30.0
_UNKNOWN = ("consecutiveSuccessLimit",)


@dataclass(slots=True)
class Look:
    """One look at a run; `results` are its metrics' by name, as they become."""

    view: View
    run: Object
    now: float
    results: dict[str, Object] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    ask: list[Question] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    """Values that nobody is shown."""
    waiting_seconds: float = 0.0
    """What the answers of this look may take, all together."""

    @property
    def status(self) -> Object:
        found: Object = self.run.get("status") or {}
        return found

    @property
    def is_terminating(self) -> bool:
        return bool(self.run["spec"].get("terminate"))

    @property
    def began(self) -> float:
        text = self.status.get("startedAt")
        return timestamps.parse(text) if text else self.now


def reconcile(view: View, key: Key, now: float) -> Plan:
    """Takes the measurements that are due."""
    run = view.get(ANALYSISRUN, key)
    if run is None or objects.is_deleting(run) or (run.get("status") or {}).get("phase") in COMPLETED:
        return NOTHING
    look = Look(view, own.typed(run, ANALYSISRUN), now)
    look.results = {result["name"]: result for result in look.status.get("metricResults") or ()}
    try:
        metrics = _metrics(look)
    except args.Unresolved as error:
        return _ended(look, ERROR, f"Unable to resolve metric arguments: {error}")
    if look.ask:
        return Plan(ask=tuple(look.ask))
    if text := rules.wrong(run, metrics):
        return _ended(look, ERROR, f"The AnalysisRun is invalid: {text}")
    for place, metric in enumerate(metrics):
        if text := providers.wrong(metric) or measuring.wrong(metric) or _unknown(metric) or _foreign(look, metric):
            return _ended(look, ERROR, f"The AnalysisRun is invalid: spec.metrics[{place}].{text}")
    for metric in metrics:
        _measure(look, metric)
    if look.ask:
        return Plan(ask=tuple(dict.fromkeys(look.ask)))
    return _told(look, metrics)


def _unknown(metric: Object) -> str:
    found = next((name for name in _UNKNOWN if metric.get(name)), "")
    return f"{found}: is not supported" if found else ""


def _foreign(look: Look, metric: Object) -> str:
    """What happens in other namespaces is not told to this one."""
    given = metric["provider"].get("plugin", {}).get(gateway_metrics.PLUGIN, {})
    own_namespace = objects.namespace(look.run)
    if given.get("namespace") in (None, "", own_namespace):
        return ""
    return f"provider.plugin[{gateway_metrics.PLUGIN}].namespace: must be the analysis' own, {own_namespace}"


def _metrics(look: Look) -> list[Object]:
    """The metrics with their arguments. Raises Unresolved; secrets that must be read first are asked for."""
    values: dict[str, str] = {}
    for arg in look.run["spec"].get("args") or ():
        reference = (arg.get("valueFrom") or {}).get("secretKeyRef")
        if reference is not None:
            if not isinstance(reference, Mapping):
                raise args.Unresolved(f"args.{arg['name']}.valueFrom.secretKeyRef must be an object")
            secret = _secret(look, str(reference.get("name")))
            if secret is not None:
                values[arg["name"]] = _decoded(secret, reference)
                look.secrets.append(values[arg["name"]])
        elif "value" in arg:
            values[arg["name"]] = str(arg["value"])
    if look.ask:
        return []
    found: list[Object] = args.filled(list(look.run["spec"].get("metrics") or ()), values)
    if any(masking.masked(metric["name"], look.secrets) != metric["name"] for metric in found):
        raise args.Unresolved("a metric's name must not hold a secret")
    return found


def _secret(look: Look, name: str) -> Object | None:
    question = Ask(SECRET, (objects.namespace(look.run), name))
    found = look.view.answer(question)
    if found is UNANSWERED:
        look.ask.append(question)
        return None
    if found is None:
        raise args.Unresolved(f'secrets "{name}" not found')
    secret: Object = found
    return secret


def _decoded(secret: Object, reference: Mapping[str, Any]) -> str:
    held = (secret.get("data") or {}).get(reference.get("key"))
    if held is None:
        raise args.Unresolved(f"key '{reference.get('key')}' does not exist in secret '{reference.get('name')}'")
    return base64.b64decode(held).decode("utf-8", "replace")


# Measurements


def _measure(look: Look, metric: Object) -> None:
    """One measurement, if it is due."""
    result = look.results.get(metric["name"]) or {"name": metric["name"], "phase": PENDING}
    look.results[metric["name"]] = result
    if result.get("phase") in COMPLETED:
        return
    last = measuring.last_of(result)
    is_running = last is not None and last["phase"] == RUNNING
    if not is_running and (
        look.is_terminating or look.now < measuring.due(metric, result, look.began) - _EARLY_SECONDS
    ):
        return
    if providers.name(metric) == "job":
        _measure_by_job(look, metric, last if is_running else None)
        return
    if providers.name(metric) == "plugin":
        _measure_by_gateway(look, metric, last if is_running else None)
        return
    question = replace(providers.question(metric), namespace=objects.namespace(look.run))
    if look.waiting_seconds and look.waiting_seconds + question.timeout_seconds > _LOOK_SECONDS:
        return  # others' analyses come first: it stays due
    look.waiting_seconds += question.timeout_seconds
    answer = look.view.answer(question)
    if answer is UNANSWERED:
        look.ask.append(question)
        return
    measured: Object = {"startedAt": timestamps.format(look.now), "finishedAt": timestamps.format(look.now)}
    _add(look, metric, {**measured, **_judged(metric, question, answer)})


def _measure_by_gateway(look: Look, metric: Object, running: Object | None) -> None:
    """Counters are read twice: what is measured is what happened in between."""
    given, now = metric["provider"]["plugin"][gateway_metrics.PLUGIN], timestamps.format(look.now)
    if running is not None and look.is_terminating:
        ended = {"phase": SUCCESSFUL, "message": "Metric Terminated", "finishedAt": now}
        _add(look, metric, {**running, **ended})
        return
    if running is not None and look.now < timestamps.parse(running["startedAt"]) + gateway_metrics.window(given):
        return
    read = _counters(look, given)
    if read is None:
        return
    begun = {"startedAt": now, **(running or {})}
    if isinstance(read, str):
        _add(look, metric, {**begun, "phase": ERROR, "message": read, "finishedAt": now})
    elif running is None:
        _add(look, metric, {**begun, "phase": RUNNING, "metadata": {COUNTERS: json.dumps(read)}})
    else:
        before = json.loads(running["metadata"][COUNTERS])
        seconds = max(look.now - timestamps.parse(running["startedAt"]), 1.0)
        result = gateway_metrics.value(given, before, read, seconds)
        begun.pop("metadata", None)
        _add(look, metric, {**begun, "finishedAt": now, **_phase(metric, result, providers.vector(result))})


def _counters(look: Look, given: Object) -> gateway_metrics.Counters | str | None:
    """What the gateway has counted, or an error's text; None where it must be asked first."""
    question = Ask(gateway_metrics.GATEWAYCLASS, gateway_metrics.CLASS_KEY)
    found = look.view.answer(question)
    if found is UNANSWERED:
        look.ask.append(question)
        return None
    url = gateway_metrics.url(found)
    if not url:
        return "no gateway tells what it counts: the GatewayClass sampan says nothing of it"
    asked = AskHttp("GET", url)
    answer = look.view.answer(asked)
    if answer is UNANSWERED:
        look.ask.append(asked)
        return None
    if isinstance(answer, str) or answer.code != 200:
        return answer if isinstance(answer, str) else f"received non 2xx response code: {answer.code}"
    return gateway_metrics.counters(answer.text, objects.namespace(look.run), str(given["service"]))


def _judged(metric: Object, question: AskHttp, answer: Any) -> Object:
    try:
        result, shown = providers.read(metric, answer)
    except providers.ProviderError as error:
        return {"phase": ERROR, "message": str(error)}
    return _phase(metric, result, shown)


def _phase(metric: Object, result: Any, shown: str) -> Object:
    try:
        return {"phase": measuring.verdict(metric, result), "value": shown}
    except expressions.ExpressionError as error:
        return {"phase": ERROR, "value": shown, "message": str(error)}


def _add(look: Look, metric: Object, measurement: Object) -> None:
    kept = rules.kept(look.run, metric, measuring.KEPT)
    shown: Object = {
        name: masking.masked(measurement[name], look.secrets) for name in ("value", "message") if name in measurement
    }
    added = measuring.added(look.results[metric["name"]], {**measurement, **shown}, kept)
    look.results[metric["name"]] = added


def _measure_by_job(look: Look, metric: Object, running: Object | None) -> None:
    if running is None:
        name = f"{objects.uid(look.run)}.{metric['name']}.{_taken(look.results[metric['name']]) + 1}"
        look.writes.append(Create(JOB, _job(look, metric, name), may_exist=True))
        started = timestamps.format(look.now)
        _add(look, metric, {"phase": RUNNING, "startedAt": started, "metadata": {JOB_NAME: name}})
        return
    job = look.view.get(JOB, (objects.namespace(look.run), running["metadata"][JOB_NAME]))
    if look.is_terminating:
        outcome: Object = {"phase": SUCCESSFUL, "message": "Metric Terminated"}
    elif job is None:
        if look.now < timestamps.parse(running["startedAt"]) + measuring.RETRY_SECONDS:
            return
        outcome = {"phase": ERROR, "message": f'jobs.batch "{running["metadata"][JOB_NAME]}" not found'}
    elif conditions.is_true(job, "Complete"):
        outcome = {"phase": SUCCESSFUL}
    elif conditions.is_true(job, "Failed"):
        told = (conditions.get(job, "Failed") or {}).get("message", "")
        outcome = {"phase": FAILED, **({"message": told} if told else {})}
    else:
        return
    _add(look, metric, {**running, **outcome, "finishedAt": timestamps.format(look.now)})


def _taken(result: Object) -> int:
    return int(result.get("count", 0)) + int(result.get("error", 0))


def _job(look: Look, metric: Object, name: str) -> Object:
    given = metric["provider"]["job"]
    more = given.get("metadata") or {}
    metadata: Object = {
        "labels": {**(more.get("labels") or {}), "analysisrun.argoproj.io/uid": objects.uid(look.run)},
        "annotations": dict(more.get("annotations") or {}),
        "name": name,
        "namespace": objects.namespace(look.run),
        "ownerReferences": [objects.owner_reference(look.run)],
    }
    return {"apiVersion": JOB.api_version, "kind": JOB.name, "metadata": metadata, "spec": given.get("spec") or {}}


# What comes of it


def _told(look: Look, metrics: list[Object]) -> Plan:
    """The phases of the metrics and of the run."""
    dry = rules.dry(look.run, metrics)
    is_over, why, events = look.is_terminating, "", list[Event]()
    for metric in metrics:
        phase, reason = _assess(look, metric, terminating=look.is_terminating)
        if phase in (FAILED, ERROR, INCONCLUSIVE) and metric["name"] not in dry:
            is_over, why = True, why or _reason(look, metric, phase, reason)
    for metric in metrics:
        before: Object = next((r for r in look.status.get("metricResults") or () if r["name"] == metric["name"]), {})
        phase, reason = _assess(look, metric, terminating=is_over)
        result = {**look.results[metric["name"]], "phase": phase, **({"dryRun": True} if metric["name"] in dry else {})}
        if is_over and phase == SUCCESSFUL and not _is_counted(metric, result):
            result["message"] = "Metric Terminated"
        elif phase in (FAILED, ERROR, INCONCLUSIVE):
            result["message"] = (measuring.last_of(result) or {}).get("message") or reason
        look.results[metric["name"]] = result
        if phase in COMPLETED and before.get("phase") not in COMPLETED:
            events.append(_event(f"Metric{phase}", phase, f"Metric '{metric['name']}' Completed. Result: {phase}"))
    results = [look.results[metric["name"]] for metric in metrics]
    if all(result["phase"] in COMPLETED for result in results):
        counted = [result["phase"] for result in results if not result.get("dryRun")]
        phase = measuring.worst(counted)
        return _ended(look, phase, why or ("Run Terminated" if look.is_terminating else ""), events)
    status = _status(look, RUNNING, "")
    again = min(
        (_due(look, metric) for metric in metrics if _waits(look, metric)),
        default=None,
    )
    seconds = None if again is None else max(again - look.now, 0.0)
    return plan(look.writes, _written(look, status), events=events, again=seconds)


def _assess(look: Look, metric: Object, *, terminating: bool) -> tuple[str, str]:
    result = look.results[metric["name"]]
    if result.get("phase") in COMPLETED:
        return result["phase"], str(result.get("message") or "")
    return measuring.assessed(metric, result, terminating=terminating)


def _is_counted(metric: Object, result: Object) -> bool:
    wanted = measuring.count(metric)
    return wanted is not None and result.get("count", 0) >= wanted


def _waits(look: Look, metric: Object) -> bool:
    """Whether a next measurement will be due by itself."""
    result = look.results[metric["name"]]
    is_running = (measuring.last_of(result) or {}).get("phase") == RUNNING
    return result["phase"] not in COMPLETED and (not is_running or providers.name(metric) == "plugin")


def _due(look: Look, metric: Object) -> float:
    result = look.results[metric["name"]]
    last = measuring.last_of(result) or {}
    if last.get("phase") == RUNNING:
        given = metric["provider"]["plugin"][gateway_metrics.PLUGIN]
        return timestamps.parse(last["startedAt"]) + gateway_metrics.window(given)
    return measuring.due(metric, result, look.began)


def _reason(look: Look, metric: Object, phase: str, reason: str) -> str:
    text = f'Metric "{metric["name"]}" assessed {phase} due to {reason}'
    last = measuring.last_of(look.results[metric["name"]]) or {}
    return f'{text}: "Error Message: {last["message"]}"' if last.get("message") else text


def _ended(look: Look, phase: str, message: str, events: list[Event] | None = None) -> Plan:
    told = [*(events or ()), _event(f"AnalysisRun{phase}", phase, f"Analysis Completed. Result: {phase}")]
    status = _status(look, phase, message)
    status["completedAt"] = timestamps.format(look.now)
    return plan(look.writes, _written(look, status), events=told)


def _written(look: Look, status: Object) -> tuple[Write, ...]:
    """The kind has no door for its status alone."""
    return (Update(ANALYSISRUN, {**look.run, "status": status}),) if status != look.status else ()


def _event(reason: str, phase: str, message: str) -> Event:
    return Event("Warning" if phase in (FAILED, ERROR) else "Normal", reason, message)


def _status(look: Look, phase: str, message: str) -> Object:
    named = [metric["name"] for metric in look.run["spec"].get("metrics") or ()]
    results = [look.results[name] for name in named if name in look.results]
    made: Object = {"phase": phase, "startedAt": timestamps.format(look.began), "metricResults": results}
    made["runSummary"] = _summary(results, dry=False)
    if any(result.get("dryRun") for result in results):
        made["dryRunSummary"] = _summary(results, dry=True)
    if message:
        made["message"] = masking.masked(message, look.secrets)
    return made


def _summary(results: list[Object], *, dry: bool) -> Object:
    phases = [result.get("phase") for result in results if bool(result.get("dryRun")) == dry]
    counted = {
        name: phases.count(phase)
        for name, phase in (
            ("successful", SUCCESSFUL),
            ("failed", FAILED),
            ("inconclusive", INCONCLUSIVE),
            ("error", ERROR),
        )
    }
    return {"count": len(phases), **{name: value for name, value in counted.items() if value}}


CONTROLLER = Controller(
    name="analysisrun-controller", parent=ANALYSISRUN, reconcile=reconcile, owns=(JOB,), component="rollouts-controller"
)
