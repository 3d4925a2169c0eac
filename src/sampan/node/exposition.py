"""The text in which Prometheus reads figures: families of samples with labels.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTER, GAUGE = "counter", "gauge"
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


@dataclass(slots=True)
class Exposition:
    """Samples as they are added, told by family in the order of the families' names."""

    _heads: dict[str, tuple[str, str]] = field(default_factory=dict)
    _samples: dict[str, list[str]] = field(default_factory=dict)

    def add(
        self,
        family: tuple[str, str, str],
        value: float,
        labels: Mapping[str, str] | None = None,
        at: float | None = None,
    ) -> None:
        """One sample of the family (name, type, help); `at` is unix seconds."""
        name, type, help = family
        self._heads[name] = type, help
        shown = _shown(labels or {})
        stamp = "" if at is None else f" {round(at * 1000)}"
        self._samples.setdefault(name, []).append(
            f"{name}{{{shown}}} {_number(value)}{stamp}" if shown else f"{name} {_number(value)}{stamp}"
        )

    def add_histogram(
        self, family: tuple[str, str], observed: tuple[Sequence[float], Sequence[int], float], labels: Mapping[str, str]
    ) -> None:
        """What was observed: the buckets' upper bounds, how many are in each and beyond the last, and their sum."""
        (name, help), (bounds, counts, total) = family, observed
        self._heads[name] = "histogram", help
        samples, shown = self._samples.setdefault(name, []), _shown(labels)
        for bound, count in zip((*map(_number, bounds), "+Inf"), accumulate(counts), strict=True):
            samples.append(f'{name}_bucket{{{shown}{"," if shown else ""}le="{bound}"}} {count}')
        samples.append(f"{name}_sum{{{shown}}} {_number(total)}")
        samples.append(f"{name}_count{{{shown}}} {sum(counts)}")

    def text(self) -> bytes:
        """All of them."""
        lines = []
        for name in sorted(self._samples):
            type, help = self._heads[name]
            lines += [f"# HELP {name} {help}", f"# TYPE {name} {type}", *self._samples[name]]
        return ("\n".join(lines) + "\n").encode()


def _shown(labels: Mapping[str, str]) -> str:
    return ",".join(f'{key}="{text.translate(_ESCAPED)}"' for key, text in sorted(labels.items()))


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.12g}"
