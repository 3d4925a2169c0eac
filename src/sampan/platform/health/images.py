"""Images: why a container's image is not there: no such name, no right to it, a registry that can't be reached."""

import re
from shlex import quote

from sampan.kinds.core.secret import SECRET
from sampan.platform.health import words
from sampan.platform.health.at import At, told
from sampan.platform.health.lookup import warnings
from sampan.platform.health.verdict import FAILED, STUCK, Evidence, Verdict

REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
           "RegistryUnavailable", "SignatureValidationFailed")  # fmt: skip
NO_SECRET = "FailedToRetrieveImagePullSecret"
DENIED = re.compile(
    r"unauthorized|authentication required|denied|forbidden|no basic auth|insufficient_scope|401|403", re.IGNORECASE
)
ABSENT = re.compile(r"not found|manifest unknown|does not exist|repository .* unknown|name unknown|404", re.IGNORECASE)
UNREACHABLE = re.compile(
    r"no such host|i/o timeout|connection refused|timed out|network is unreachable|name resolution|cannot connect|TLS|EOF",
    re.IGNORECASE,
)
LIMITED = re.compile(r"toomanyrequests|rate limit|429", re.IGNORECASE)


def judge(at: At, reason: str, text: str) -> Verdict:
    """What a waiting reason about images means, with what the node says of it."""
    image = str(at.container.get("image", ""))
    if reason == "InvalidImageName":
        message = f"{image!r} is no image's name: {_tail(text)}"
        return _found(at, FAILED, "InvalidImageName", message, (at.home.set_image(at.name),))
    if reason == "ErrImageNeverPull":
        message = f"image {image} is not on the node, and its imagePullPolicy is Never"
        steps = (f"sampan image load FILE   # or: sampan image pull {quote(image)}", *_policy(at))
        return _found(at, STUCK, "ImageNotThere", message, steps)
    missing = _missing_secrets(at)
    if missing:
        return _without_secret(at, missing[0], image)
    return _pull(at, image, text)


def _pull(at: At, image: str, text: str) -> Verdict:
    if LIMITED.search(text):
        message = f"the registry of {image} lets nobody pull so often"
        return _found(
            at, STUCK, "RegistryLimit", message, ("wait, pull with credentials, or use a registry of your own",)
        )
    if UNREACHABLE.search(text) and not ABSENT.search(text.replace("host not found", "")):
        message = f"the registry of {image} can't be reached: {_tail(text)}"
        steps = (
            "look whether the name of the registry is right, and whether the node reaches it",
            at.home.set_image(at.name),
        )
        return _found(at, STUCK, "RegistryUnreachable", message, steps)
    if DENIED.search(text):
        message = f"the registry does not let {image} be pulled: there is no such image, or it wants credentials"
        return _found(at, FAILED, "ImagePullDenied", message, (at.home.set_image(at.name), *_credentials(at)))
    if ABSENT.search(text):
        return _found(at, FAILED, "ImageNotFound", f"there is no image {image}", (at.home.set_image(at.name),))
    return _found(
        at, FAILED, "ImagePullFailed", f"image {image} can't be pulled: {_tail(text)}", (at.home.set_image(at.name),)
    )


def _without_secret(at: At, name: str, image: str) -> Verdict:
    found = at.look.list(SECRET, at.namespace)
    better = words.nearest_object(name, found)
    message = f"image {image} can't be pulled, and the pull secret {name} does not exist{words.meant(better)}"
    make = f"{words.in_namespace(at.namespace)} create secret docker-registry {name} --docker-server=REGISTRY --docker-username=USER --docker-password=PASSWORD"
    steps = at.home.change("imagePullSecrets", f"name {better}") if better else (make,)
    shown = tuple(told(event, at.look) for event in warnings(at.look, at.pod, NO_SECRET)[:1])
    return at.verdict(FAILED, "PullSecretMissing", message, evidence=(*shown, *at.told("Failed")), next=steps)


def _missing_secrets(at: At) -> list[str]:
    wanted = [str(each.get("name", "")) for each in at.pod.get("spec", {}).get("imagePullSecrets") or ()]
    missing = [name for name in wanted if at.look.get(SECRET, name, at.namespace) is None]
    return [name for name in missing if not at.look.is_hidden(SECRET, at.namespace, name)]


def _credentials(at: At) -> tuple[str, ...]:
    if at.pod.get("spec", {}).get("imagePullSecrets"):
        return ("look whether the pod's imagePullSecrets hold the right credentials for that registry",)
    where = words.in_namespace(at.namespace)
    make = f"{where} create secret docker-registry registry --docker-server=REGISTRY --docker-username=USER --docker-password=PASSWORD"
    return (make, *at.home.change("imagePullSecrets", "name that secret"))


def _policy(at: At) -> tuple[str, ...]:
    return at.home.change(f"{at.path}.imagePullPolicy", "or let it be pulled")


def _found(at: At, state: str, reason: str, message: str, steps: tuple[str, ...]) -> Verdict:
    pulls = [e for e in warnings(at.look, at.pod, part=at.name) if "pull" in str(e.get("message")).lower()]
    telling = [e for e in pulls if str(e.get("message", "")).startswith("Failed to pull")] or pulls
    shown = tuple(told(event, at.look) for event in telling[:1]) or at.told("Failed", "InspectFailed")
    said = Evidence(
        "status", words.clipped(str(((at.status.get("state") or {}).get("waiting") or {}).get("message", "")))
    )
    return at.verdict(state, reason, message, evidence=shown or (said,), next=steps)


def _tail(text: str) -> str:
    """What is at the end of a chain of errors."""
    parts = [part.strip() for part in text.split(": ") if part.strip()]
    return words.clipped(": ".join(parts[-2:]), 160)
