"""Feature gates: which parts of Kubernetes are there but closed until a cluster opens them, by upstream's names.

https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/
"""

from collections.abc import Mapping
from dataclasses import dataclass

Gates = frozenset[str]
"""The names of those that are open."""

MAX_UNAVAILABLE_STATEFUL_SET = "MaxUnavailableStatefulSet"
"""StatefulSets may replace several pods at once (spec.updateStrategy.rollingUpdate.maxUnavailable)."""
HPA_SCALE_TO_ZERO = "HPAScaleToZero"
"""HorizontalPodAutoscalers may have minReplicas 0 with metrics that there are without pods too."""

_TRUTHS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


class GateError(ValueError):
    """A gate that is not there, or what it can't be; the text is for the user."""


@dataclass(frozen=True, slots=True)
class Gate:
    """`stage` is ALPHA or BETA; `is_open` is what it is where nobody says anything."""

    name: str
    stage: str
    is_open: bool = False


GATES = (Gate(HPA_SCALE_TO_ZERO, "ALPHA"), Gate(MAX_UNAVAILABLE_STATEFUL_SET, "BETA"))


def read(text: str) -> dict[str, bool]:
    """Of "NAME=true,OTHER=false". Raises GateError."""
    found: dict[str, bool] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (side.strip() for side in part.partition("="))
        if not equals:
            raise GateError(f"missing bool value for {name}")
        truth = _TRUTHS.get(value if len(value) == 1 else value.lower())
        if truth is None:
            raise GateError(f"invalid value of {name}={value}: true or false")
        found[name] = truth
    return checked(found)


def checked(given: Mapping[str, bool]) -> dict[str, bool]:
    """The same. Raises GateError."""
    known = [gate.name for gate in GATES]
    for name, is_open in given.items():
        if name not in known:
            raise GateError(f"unrecognized feature gate: {name}; there are: {', '.join(known)}")
        if not isinstance(is_open, bool):
            raise GateError(f"invalid value of {name}={is_open}: true or false")
    return dict(given)


def opened(given: Mapping[str, bool]) -> Gates:
    """Those that are open where some are given. A gate of another version, which there is no more, is none."""
    return frozenset(gate.name for gate in GATES if given.get(gate.name, gate.is_open))
