"""What this version would leave out silently, and so refuses by name: nobody shall think that it holds."""

from collections.abc import Mapping
from typing import Any

from sampan.meta.status import Cause, forbidden_field

Spec = Mapping[str, Any]

_JOB = ("podFailurePolicy", "successPolicy", "backoffLimitPerIndex", "maxFailedIndexes", "managedBy")


def cause(path: str, what: str) -> Cause:
    """`what` is a plural noun: "volumes of type nfs"."""
    return forbidden_field(path, f"{what} are not available yet in this version of Sampan")


def job_causes(spec: Spec) -> list[Cause]:
    """Fields of a new job's spec."""
    return [cause(f"spec.{name}", f"jobs with {name}") for name in _JOB if spec.get(name) is not None]
