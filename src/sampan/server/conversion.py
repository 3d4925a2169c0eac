"""Conversion of custom resources by their definition's webhook, one call for as many objects as a list needs.

A webhook may change anything but who an object is: its answer is checked, and all metadata but labels
and annotations are put back as they were.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-conversion
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sampan.kinds.apiextensions import crd_spec, values
from sampan.kit.ids import Ids
from sampan.meta import objects, status, validation
from sampan.server import service_target
from sampan.server.review_call import CallError, ReviewCall

Tree = dict[str, Any]

TIMEOUT_SECONDS = 30.0
MAX_OBJECTS = 1000
_GROUP = "apiextensions.k8s.io"
_KNOWN = ("v1", "v1beta1")


class WebhookConverter:
    """What `versions.set_converter` takes, for one definition."""

    def __init__(self, crd: Tree, reviews: ReviewCall, lookup: service_target.Objects, ids: Ids) -> None:
        webhook = crd["spec"]["conversion"]["webhook"]
        self._config = webhook["clientConfig"]
        self._version = next((v for v in webhook.get("conversionReviewVersions") or () if v in _KNOWN), "")
        self._forms = {v["name"]: crd_spec.schema_of(v) or {} for v in crd_spec.versions(crd["spec"])}
        self._reviews, self._lookup, self._ids = reviews, lookup, ids

    async def __call__(self, objs: Sequence[Tree], api_version: str) -> Sequence[Tree]:
        """The objects in that version, in their order. Raises ApiError 500."""
        done: list[Tree] = []
        for start in range(0, len(objs), MAX_OBJECTS):
            done += await self._converted(objs[start : start + MAX_OBJECTS], api_version)
        return done

    async def _converted(self, objs: Sequence[Tree], api_version: str) -> list[Tree]:
        given = [self._complete(obj) for obj in objs]
        name = f"conversion webhook for {_gvk(given[0])}"
        if not self._version:
            raise _failure("no supported conversion review versions")
        uid = self._ids.uid()
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": given}
        review = {"kind": "ConversionReview", "apiVersion": f"{_GROUP}/{self._version}", "request": request}
        try:
            answer = await self._reviews.post(self._config, review, self._lookup, TIMEOUT_SECONDS)
            made = _objects_of(answer, uid, self._version)
        except CallError as error:
            raise _failure(f"{name} failed: {error}") from error
        if len(made) != len(given):
            raise _failure(f"{name} returned {len(made)} objects, expected {len(given)}")
        checked = [
            _checked(before, after, api_version, _Words(name, index, alone=len(given) == 1))
            for index, (before, after) in enumerate(zip(given, made, strict=True))
        ]
        form = self._form(api_version)
        for obj in checked if form else ():
            values.take_form(obj, form)
        return checked

    def _form(self, api_version: str) -> Tree:
        """The schema of a version."""
        return self._forms.get(api_version.rpartition("/")[2]) or {}

    def _complete(self, obj: Tree) -> Tree:
        """The object as its own version's schema has it, which is what a webhook is shown."""
        made: Tree = objects.copy(obj)
        if form := self._form(str(obj["apiVersion"])):
            values.keep_form(made, form)
        return made


class _Words:
    """How complaints about one object begin."""

    def __init__(self, name: str, index: int, *, alone: bool) -> None:
        self._name, self._index, self._alone = name, index, alone

    def kind(self) -> str:
        what = "object" if self._alone else "converted object"
        return f"{self._name} returned invalid {what} at index {self._index}: "

    def identity(self) -> str:
        return f"{self._name} returned invalid object: " if self._alone else self.kind()

    def metadata(self) -> str:
        if self._alone:
            return f"{self._name} returned invalid metadata: "
        return f"{self._name} returned invalid metadata in object at index {self._index}: "


def _objects_of(answer: Tree, uid: str, version: str) -> Sequence[Any]:
    """The converted objects of an answer. Raises CallError."""
    if version == "v1":
        said = (answer.get("apiVersion"), answer.get("kind"))
        if said != (f"{_GROUP}/v1", "ConversionReview"):
            raise CallError(
                f"expected webhook response of {_GROUP}/v1, Kind=ConversionReview, got {said[0] or ''}, Kind={said[1] or ''}"
            )
    response = answer.get("response")
    if not isinstance(response, dict):
        raise CallError("no response provided")
    if version == "v1" and response.get("uid") != uid:
        shown = status.show(response.get("uid") or "")
        raise CallError(f'expected response.uid="{uid}", got {shown}')
    result = response.get("result")
    result = result if isinstance(result, dict) else {}
    if result.get("status") != "Success":
        text = result.get("message")
        raise CallError(
            str(text) if text else f"response.result.status was '{result.get('status') or ''}', not 'Success'"
        )
    found = response.get("convertedObjects")
    return found if isinstance(found, list) else []


def _checked(before: Tree, after: Any, api_version: str, words: _Words) -> Tree:
    """The converted object with its metadata put back. Raises ApiError 500."""
    if not isinstance(after, dict):
        raise _failure(f"{words.kind()}Object 'Kind' is missing in '{status.show(after)}'")
    if after.get("apiVersion") != api_version:
        got = after.get("apiVersion") or ""
        raise _failure(f"{words.kind()}invalid groupVersion (expected {api_version}, received {got})")
    if after.get("kind") != before["kind"]:
        raise _failure(f"{words.kind()}invalid kind (expected {before['kind']}, received {after.get('kind') or ''})")
    metadata = after.get("metadata")
    if metadata is None:
        raise _failure(f"{words.metadata()}missing metadata in converted object")
    if not isinstance(metadata, dict):
        raise _failure(f"{words.metadata()}invalid metadata of type {_go_type(metadata)} in converted object")
    for name, read in _IDENTITY:
        old, new = read(before["metadata"]), read(metadata)
        if old != new:
            raise _failure(f"{words.identity()}must have the same {name}: {old} != {new}")
    return {**after, "metadata": _restored(before["metadata"], metadata, words)}


def _reader(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda metadata: metadata.get(name) or ""


_IDENTITY = (("name", _reader("name")), ("namespace", _reader("namespace")), ("UID", _reader("uid")))


def _restored(before: Tree, after: Tree, words: _Words) -> Tree:
    made: Tree = objects.copy(before)
    for name in ("labels", "annotations"):
        given = after.get(name)
        if given is None:
            made.pop(name, None)
            continue
        if not isinstance(given, dict):
            raise _failure(f"{words.metadata()}invalid metadata.{name} of type {_go_type(given)} in converted object")
        for key, value in given.items():
            if not isinstance(value, str):
                text = f"metadata.{name}[{key}] must be a string, but is {_go_type(value)} in converted object"
                raise _failure(words.metadata() + text)
        if given != (before.get(name) or {}):
            check = validation.labels if name == "labels" else validation.annotations
            wrong = [cause.text for cause in check(given, f"metadata.{name}")]
            if wrong:
                raise _failure(words.metadata() + (wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]"))
        made[name] = given
    return made


def _gvk(obj: Tree) -> str:
    return f"{obj['apiVersion']}, Kind={obj['kind']}"


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "int64" if isinstance(value, int) else "float64"
    if value is None:
        return "<nil>"
    if isinstance(value, str):
        return "string"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"


def _failure(text: str) -> status.ApiError:
    return status.failure(500, "", text)
