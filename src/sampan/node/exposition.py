"""The text in which Prometheus reads figures: families of samples with labels.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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
        shown = ",".join(f'{key}="{text.translate(_ESCAPED)}"' for key, text in sorted((labels or {}).items()))
        stamp = "" if at is None else f" {round(at * 1000)}"
        self._samples.setdefault(name, []).append(
            f"{name}{{{shown}}} {_number(value)}{stamp}" if shown else f"{name} {_number(value)}{stamp}"
        )

    def text(self) -> bytes:
        """All of them."""
        lines = []
        for name in sorted(self._samples):
            type, help = self._heads[name]
            lines += [f"# HELP {name} {help}", f"# TYPE {name} {type}", *self._samples[name]]
        return ("\n".join(lines) + "\n").encode()


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.12g}"
