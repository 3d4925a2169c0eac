"""The node's figures in the forms in which upstream's kubelet gives them: the summary, and text for Prometheus.

https://kubernetes.io/docs/reference/instrumentation/node-metrics/
"""

from collections.abc import Iterator

from sampan.meta import objects, timestamps
from sampan.node.agent import Agent, Object
from sampan.node.runtime.protocol import RUNNING, ContainerState
from sampan.node.usage import Figures

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_NANO = 1_000_000_000
_FAMILIES = (
    ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds"),
    ("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes"),
    ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds"),
    ("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds"),
    ("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes"),
    ("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds"),
    ("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes"),
)

Measured = tuple[ContainerState, Figures]


def summary(agent: Agent) -> Object:
    """GET /stats/summary."""
    node: Object = {"nodeName": agent.settings.node}
    whole = agent.parts.meter.node() if agent.parts.meter is not None else None
    if whole is not None:
        node |= {"startTime": timestamps.format(whole.start), **_amounts(whole)}
    return {"node": node, "pods": [_pod(pod, measured) for pod, measured in _pods(agent)]}


def prometheus(agent: Agent) -> bytes:
    """GET /metrics/resource."""
    samples: dict[str, list[str]] = {name: [] for name, _, _ in _FAMILIES}

    def add(owner: str, labels: str, figures: Figures) -> None:
        stamp = round(figures.at * 1000)
        samples[f"{owner}_cpu_usage_seconds_total"].append(f"{labels} {figures.cpu_seconds:.9g} {stamp}")
        samples[f"{owner}_memory_working_set_bytes"].append(f"{labels} {figures.working_set} {stamp}")

    for pod, measured in _pods(agent):
        where = f'namespace="{objects.namespace(pod)}",pod="{objects.name(pod)}"'
        for state, figures in measured:
            labels = f'{{container="{state.name}",{where}}}'
            add("container", labels, figures)
            samples["container_start_time_seconds"].append(f"{labels} {figures.start:.9f}")
        add("pod", f"{{{where}}}", _sum([figures for _, figures in measured]))
    whole = agent.parts.meter.node() if agent.parts.meter is not None else None
    if whole is not None:
        add("node", "", whole)
    lines = []
    for name, kind, text in _FAMILIES:
        if samples[name]:
            lines += [f"# HELP {name} [STABLE] {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{sample}" for sample in samples[name]]
    lines += [
        "# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        "# TYPE resource_scrape_error gauge",
        f"resource_scrape_error {0 if whole is not None else 1}",
    ]
    return ("\n".join(lines) + "\n").encode()


def _pods(agent: Agent) -> Iterator[tuple[Object, list[Measured]]]:
    """The pods whose containers have figures, by namespace and name."""
    meter = agent.parts.meter
    if meter is None:
        return
    for record in sorted(agent.records.values(), key=lambda r: objects.key(r.pod)):
        running = sorted((s for s in record.states.values() if s.state == RUNNING), key=lambda s: s.name)
        measured = [(state, figures) for state in running if (figures := meter.container(state)) is not None]
        if measured:
            yield record.pod, measured


def _pod(pod: Object, measured: list[Measured]) -> Object:
    whole = _sum([figures for _, figures in measured])
    return {
        "podRef": {"name": objects.name(pod), "namespace": objects.namespace(pod), "uid": objects.uid(pod)},
        "startTime": (pod.get("status") or {}).get("startTime") or timestamps.format(whole.start),
        "containers": [
            {"name": state.name, "startTime": timestamps.format(figures.start), **_amounts(figures)}
            for state, figures in measured
        ],
        **_amounts(whole),
    }


def _amounts(figures: Figures) -> Object:
    at = timestamps.format(figures.at)
    return {
        "cpu": {
            "time": at,
            "usageNanoCores": round(figures.cores * _NANO),
            "usageCoreNanoSeconds": round(figures.cpu_seconds * _NANO),
        },
        "memory": {"time": at, "usageBytes": figures.memory, "workingSetBytes": figures.working_set},
    }


def _sum(all_figures: list[Figures]) -> Figures:
    return Figures(
        at=max(f.at for f in all_figures),
        start=min(f.start for f in all_figures),
        cores=sum(f.cores for f in all_figures),
        cpu_seconds=sum(f.cpu_seconds for f in all_figures),
        memory=sum(f.memory for f in all_figures),
        working_set=sum(f.working_set for f in all_figures),
    )
