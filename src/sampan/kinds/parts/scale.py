"""The scale door of a kind: where its wish, its count and its selector stand.

https://kubernetes.io/docs/reference/kubernetes-api/autoscaling-resources/scale-v1/
"""

from sampan.kinds.kind import Subresource


def at(spec_replicas: str, status_replicas: str, selector: str) -> Subresource:
    """The `scale` subresource, answered as autoscaling/v1 Scale from these dotted paths."""
    paths = (spec_replicas, status_replicas, selector)
    return Subresource("scale", group="autoscaling", version="v1", kind="Scale", scale_paths=paths)
