"""Services: whether anybody answers behind one: its selector, its pods, its ports."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sampan.kinds.core.endpoints import ENDPOINTS
from sampan.kinds.core.pod import POD, is_terminal
from sampan.kinds.discovery.endpoint_slice import ENDPOINTSLICE
from sampan.meta import objects
from sampan.platform.health import pods, words
from sampan.platform.health.at import told
from sampan.platform.health.lookup import Lookup, matching, warnings
from sampan.platform.health.verdict import HEALTHY, PROGRESSING, STUCK, Evidence, Verdict, about, because

Object = Mapping[str, Any]
NAME_LABEL = "kubernetes.io/service-name"
BALANCER_SECONDS = 60
PROBES = ("readinessProbe", "livenessProbe", "startupProbe")


def judge(service: Object, look: Lookup) -> Verdict:
    """A Service, over its EndpointSlices to its pods."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return about(service, HEALTHY, "ExternalName", f"stands for {spec.get('externalName')}")
    selector = spec.get("selector") or {}
    ready = _ready(service, look)
    if not selector:
        if ready or not spec.get("ports"):
            return about(service, HEALTHY, "Endpoints", f"has {words.plural(ready, 'endpoint')} that others keep")
        message = "has no selector, and nobody has made EndpointSlices for it"
        return about(
            service, STUCK, "NoEndpoints", message, next=("give it a selector, or make an EndpointSlice for it",)
        )
    everyone = look.list(POD, objects.namespace(service))
    chosen = sorted((p for p in matching(everyone, selector) if not is_terminal(p)), key=objects.name)
    if look.is_hidden(POD, objects.namespace(service)):
        return _by_slices(service, ready, look)
    if not chosen:
        return _nobody(service, selector, everyone)
    verdict = _port_trouble(service, chosen)
    if verdict is not None:
        return verdict
    if not ready:
        waiting = about(
            service, PROGRESSING, "NoEndpoints", f"has no pod that is ready, of {words.plural(len(chosen), 'pod')}"
        )
        return because(waiting, [pods.judge({"apiVersion": "v1", "kind": "Pod", **pod}, look) for pod in chosen])
    return _balancer(service, look) or about(service, HEALTHY, "Ready", f"has {words.plural(ready, 'endpoint')}")


def _ready(service: Object, look: Lookup) -> int:
    """How many endpoints take traffic, by the slices; for a server that has none, by the Endpoints."""
    slices = matching(look.list(ENDPOINTSLICE, objects.namespace(service)), {NAME_LABEL: objects.name(service)})
    found = {
        str(address)
        for each in slices
        if each.get("ports")
        for endpoint in each.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or ()
    }
    if slices:
        return len(found)
    old = look.get(ENDPOINTS, objects.name(service), objects.namespace(service)) or {}
    return sum(len(subset.get("addresses") or ()) for subset in old.get("subsets") or ())


def _by_slices(service: Object, ready: int, look: Lookup) -> Verdict:
    """For who may not read pods: what the slices tell, if they may be read."""
    if ready:
        return _balancer(service, look) or about(service, HEALTHY, "Ready", f"has {words.plural(ready, 'endpoint')}")
    if look.is_hidden(ENDPOINTSLICE, objects.namespace(service)):
        return about(
            service, PROGRESSING, "Unreadable", "can't be judged: neither its pods nor its endpoints may be read"
        )
    return about(service, STUCK, "NoEndpoints", "has no endpoint that is ready, and its pods may not be read")


def _nobody(service: Object, selector: Mapping[str, str], everyone: Iterable[Object]) -> Verdict:
    """No pod has the labels: what pods there are have instead."""
    shown = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    better = _nearest_labels(selector, everyone)
    where = words.in_namespace(objects.namespace(service))
    meant = ",".join(f"{key}={value}" for key, value in sorted(better.items()))
    message = f"sends to no pod: none has the labels {shown}{words.meant(meant)}"
    evidence = (Evidence("spec", f"selector: {shown}"),)
    if better:
        whole = {**dict.fromkeys(key for key in selector if key not in better), **better}
        patch = _json(whole)
        step = f'{where} patch service {objects.name(service)} --type=merge -p \'{{"spec":{{"selector":{patch}}}}}\''
        return about(service, STUCK, "SelectorMatchesNothing", message, evidence=evidence, next=(step,))
    steps = (f"{where} get pods --show-labels", f"{where} edit service {objects.name(service)}   # spec.selector")
    return about(service, STUCK, "SelectorMatchesNothing", message, evidence=evidence, next=steps)


def _nearest_labels(selector: Mapping[str, str], everyone: Iterable[Object]) -> dict[str, str]:
    """The labels of some pod that are nearly these: a value or a key misspelt, or one label too many."""
    best: tuple[int, dict[str, str]] = (0, {})
    for pod in sorted(everyone, key=objects.name):
        labels = objects.labels(pod)
        found = {}
        for key, value in selector.items():
            if labels.get(key) == value:
                found[key] = value
            elif key in labels and words.nearest(value, [labels[key]]):
                found[key] = labels[key]
            else:
                other = next((k for k, v in labels.items() if v == value), "")
                found |= {other: value} if other else {}
        if len(found) > best[0]:
            best = (len(found), found)
    return best[1]


def _port_trouble(service: Object, chosen: Sequence[Object]) -> Verdict | None:
    for port in (service.get("spec") or {}).get("ports") or ():
        target = port.get("targetPort", port.get("port"))
        found = _missing(target, chosen)
        if found is None:
            continue
        reason, message, better = found
        where = words.in_namespace(objects.namespace(service))
        value = f'"{better}"' if better and not better.isdigit() else better or "PORT"
        index = service["spec"]["ports"].index(port)
        patch = f'[{{"op":"replace","path":"/spec/ports/{index}/targetPort","value":{value}}}]'
        step = f"{where} patch service {objects.name(service)} --type=json -p '{patch}'"
        evidence = (Evidence("spec", f"ports: {port.get('port')} -> targetPort {target}"),)
        return about(service, STUCK, reason, message, evidence=evidence, next=(step,))
    return None


def _missing(target: Any, chosen: Sequence[Object]) -> tuple[str, str, str] | None:
    """What is wrong with a target port: a name or a number that no container has; and what they have."""
    ports = [port for pod in chosen for port in _ports(pod)]
    names = sorted({str(port["name"]) for port in ports if port.get("name")})
    numbers = sorted({str(port["containerPort"]) for port in ports})
    pod = objects.name(chosen[0])
    has = f"they have {words.listed(names or numbers)}" if names or numbers else "they name none"
    if isinstance(target, str) and not target.isdigit():
        if target in names:
            return None
        message = f"sends to the port named {target}, and no container of its pods (such as {pod}) has one of that name: {has}"
        return (
            "TargetPortMissing",
            message,
            words.nearest(target, names) or (names[0] if len(names) == 1 else _only(numbers)),
        )
    if not numbers or str(target) in numbers or str(target) in _probed(chosen):
        return None
    message = f"sends to port {target}, and no container of its pods (such as {pod}) declares it: they declare {words.listed(numbers)}"
    return "TargetPortNotOpen", message, _only(numbers)


def _balancer(service: Object, look: Lookup) -> Verdict | None:
    if (service.get("spec") or {}).get("type") != "LoadBalancer":
        return None
    if ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
        return None
    waited = words.since(service, look.now)
    found = warnings(look, service)
    state = STUCK if waited > BALANCER_SECONDS else PROGRESSING
    message = "has endpoints, but no load balancer has given it an address"
    steps = ("look whether the cluster has load balancers; within it, its cluster IP works",)
    return about(
        service, state, "NoLoadBalancer", message, evidence=tuple(told(e, look) for e in found[:1]), next=steps
    )


def _ports(pod: Object) -> list[Object]:
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return [port for container in (*spec["containers"], *sidecars) for port in container.get("ports") or ()]


def _probed(chosen: Sequence[Object]) -> set[str]:
    """Ports that somebody asks, so that they are open though nobody declares them."""
    asked = [c.get(name) or {} for pod in chosen for c in pod["spec"]["containers"] for name in PROBES]
    return {str((probe.get(how) or {}).get("port")) for probe in asked for how in ("httpGet", "tcpSocket", "grpc")}


def _only(numbers: Sequence[str]) -> str:
    return numbers[0] if len(numbers) == 1 else ""


def _json(tree: Mapping[str, str | None]) -> str:
    said = ",".join(f'"{key}":' + ("null" if value is None else f'"{value}"') for key, value in sorted(tree.items()))
    return f"{{{said}}}"
