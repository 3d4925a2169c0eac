"""An Ingress without a class gets the default one; of several defaults the newest.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#defaultingressclass
"""

from sampan.kinds.networking.ingress import CLASS_ANNOTATION, INGRESS
from sampan.kinds.networking.ingress_class import DEFAULT_ANNOTATION, INGRESSCLASS
from sampan.meta import objects
from sampan.server.admission.chain import CREATE, Attributes, Concern, Lookup

CONCERNS = Concern(operations=(CREATE,), kinds=(INGRESS,))


async def admit(attributes: Attributes, lookup: Lookup) -> None:
    """The class goes into spec.ingressClassName."""
    ingress = attributes.obj
    if ingress is None:
        return
    spec = ingress.setdefault("spec", {})
    if attributes.subresource or spec.get("ingressClassName") is not None:
        return
    if CLASS_ANNOTATION in objects.annotations(ingress):
        return
    classes = [item.tree for item in lookup.all(INGRESSCLASS)]
    defaults = [c for c in classes if objects.annotations(c).get(DEFAULT_ANNOTATION) == "true"]
    if defaults:
        defaults.sort(key=objects.name)
        newest = max(defaults, key=lambda c: objects.metadata(c).get("creationTimestamp") or "")
        spec["ingressClassName"] = objects.name(newest)
