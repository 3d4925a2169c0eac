"""managedFields: who owns which field; kept by every write, and what makes server-side apply possible.

`track` notes what a create, update or patch changed; `apply` lays a configuration over an object,
refuses to take what others own unless forced, and takes out what its manager no longer says.

https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

from typing import Any, NamedTuple

from sampan.meta import objects, schema, timestamps
from sampan.meta.apply import comparison, fieldset, handover, last_applied, merging
from sampan.meta.fields import dense
from sampan.meta.status import ApiError, failure

Tree = dict[str, Any]
Set = fieldset.Set

MAX_UPDATE_MANAGERS = 10
MAX_KNOWN = 256
ANCIENT = "ancient-changes"
BEFORE_APPLY = "before-first-apply"


class Write(NamedTuple):
    """Who writes: `operation` is Apply or Update, `now` is in unix seconds.

    `kept` is what this door leaves as it was, whatever is said: nobody comes to own any of it.
    """

    manager: str
    operation: str
    api_version: str
    subresource: str
    now: float
    kept: Set | None = None


class Owner(NamedTuple):
    """What makes two entries one. An applier keeps its entry when the API version changes."""

    manager: str
    operation: str
    api_version: str
    subresource: str


class Entry(NamedTuple):
    """One owner's fields; `time` is RFC 3339 text, "" when unknown. `shown` is the entry as the object has it already."""

    owner: Owner
    api_version: str
    time: str
    fields: Set
    shown: Tree | None = None


Managers = dict[Owner, Entry]
_KNOWN: dict[int, tuple[list[Tree], Managers]] = {}
"""Lists that were made here lately, by their ids, with what they say: the next write of an object often has them."""


def track(new: Tree, old: Tree | None, write: Write, type: schema.Type) -> list[Tree]:
    """The managedFields of `new`, written over `old` (None on create) by anything but an apply.

    An unchanged object keeps its entries and their times. An object that never had entries stays without.
    """
    if old is None:
        return _track_creation(new, write, type)
    found = comparison.compare_objects(old, new, type)
    stored = objects.metadata(old).get("managedFields")
    given = objects.metadata(new).get("managedFields")
    changed, removed = fieldset.outside(found.changed, write.kept), fieldset.outside(found.removed, write.kept)
    if given is stored or given == stored or given is None or write.subresource:
        if changed is None and removed is None:
            return stored or []
        given = stored
    elif _is_reset(given):
        return []
    managers = _decode(given) if given is stored else _decode_checked(given)
    if not managers:
        managers = _decode(stored) or {}
    if not managers:
        return []
    return _encode(_capped(_updated(managers, write, comparison.Difference(changed, removed))))


def apply(live: Tree | None, config: Tree, write: Write, type: schema.Type, *, force: bool = False) -> Tree:
    """The object after a server-side apply, with its managedFields; `live` is None when there is none yet.

    It shares what it can with both. `config` has passed `checking.check`. Raises ApiError 409 for fields that others own
    (unless forced), 400 for a configuration with managedFields. What changes nothing gives an object equal to `live`.
    """
    if config.get("metadata", {}).get("managedFields"):
        raise failure(400, "BadRequest", "metadata.managedFields must be nil")
    owner = _owner(write)
    before: Managers = _managers_before(live, write, type)
    said = fieldset.applied(config, type)
    wanted = _ownable(said, write)
    last = before.get(owner)
    others = {key: entry for key, entry in before.items() if key != owner}
    content = _content(live or {})
    merged = merging.merge(content, config, type)
    if last is not None:
        merged = merging.remove(merged, last.fields, _all_fields(others, said), type)
    found = comparison.compare(content, merged, type)
    difference = comparison.Difference(_ownable(found.changed, write), _ownable(found.removed, write))
    if not force and _conflicts(others, difference.changed):
        own = last_applied.own_fields(content, write.api_version, type) if _is_kubectl(write) else None
        _refuse_conflicts(others, fieldset.difference(difference.changed, own))
    kept = dense(merged, type, content) if type.name else merged
    entry = _applied_entry(last, wanted, write, is_same=difference == comparison.NOTHING or objects.same(kept, content))
    managers = _without(others, difference)
    if entry is not None:
        managers[owner] = entry
    made = {**kept, "metadata": {**kept.get("metadata", {}), "managedFields": _encode(managers)}}
    return last_applied.noted(made, config) if _is_kubectl(write) else made


def _track_creation(new: Tree, write: Write, type: schema.Type) -> list[Tree]:
    given = objects.metadata(new).get("managedFields")
    fields = fieldset.outside(comparison.creation(new, type), write.kept)
    if given and not _is_reset(given):
        managers = _decode_checked(given) or {}
        return _encode(_capped(_updated(managers, write, comparison.Difference(fields, None))))
    return [] if fields is None else [_encoded(Entry(_owner(write), write.api_version, _time(write), fields))]


def _updated(managers: Managers, write: Write, difference: comparison.Difference) -> Managers:
    """Changed fields go to the writer, from whoever had them; removed ones vanish."""
    owner = _owner(write)
    own = managers.get(owner)
    result = _without(managers, difference)
    if difference.changed is not None:
        fields = handover.taken(None if own is None else own.fields, difference)
        result[owner] = Entry(owner, write.api_version, _time(write), fields)
    return result


def _without(managers: Managers, difference: comparison.Difference) -> Managers:
    """The entries without changed and removed fields; those left empty vanish."""
    result: Managers = {}
    for owner, entry in managers.items():
        fields = handover.left(entry.fields, difference)
        if fields:
            is_whole = fields is entry.fields or fields == entry.fields
            result[owner] = entry if is_whole else entry._replace(fields=fields, shown=None)
    return result


def _capped(managers: Managers) -> Managers:
    """The oldest update entries beyond the limit become one, per API version."""
    updates = sorted((e for e in managers.values() if e.owner.operation == "Update"), key=lambda e: e.time)
    surplus = len(updates) - MAX_UPDATE_MANAGERS
    if surplus <= 0:
        return managers
    result = dict(managers)
    left = len(updates)
    for entry in updates:
        if left <= MAX_UPDATE_MANAGERS:
            break
        bucket = Owner(ANCIENT, "Update", entry.api_version, "")
        result.pop(entry.owner)
        older = result.get(bucket)
        left -= older is not None
        fields = fieldset.union(older.fields if older else None, entry.fields) or {}
        result[bucket] = Entry(bucket, entry.api_version, max(entry.time, older.time if older else ""), fields)
    return result


def _refuse_conflicts(others: Managers, changed: Set | None) -> None:
    found = _conflicts(others, changed)
    if found:
        raise _conflict(sorted(found))


def _conflicts(others: Managers, changed: Set | None) -> list[tuple[str, str]]:
    """Who owns what was changed, each as the message shows it."""
    found = []
    for entry in others.values():
        contested = fieldset.intersection(entry.fields, changed)
        if contested is not None:
            found += [(_shown(entry), path) for path in fieldset.paths(contested)]
    return found


def _is_kubectl(write: Write) -> bool:
    return write.manager == last_applied.MANAGER


def _conflict(found: list[tuple[str, str]]) -> ApiError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for manager, path in found
    ]
    if len(found) == 1:
        text = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        lines = []
        for manager in dict.fromkeys(manager for manager, _ in found):
            lines += [f"conflicts with {manager}:", *(f"- {path}" for other, path in found if other == manager)]
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return failure(409, "Conflict", text, {"causes": causes})


def _shown(entry: Entry) -> str:
    text = f'"{entry.owner.manager}"'
    if entry.owner.subresource:
        text += f' with subresource "{entry.owner.subresource}"'
    return f"{text} using {entry.api_version}" if entry.owner.operation == "Update" else text


def _managers_before(live: Tree | None, write: Write, type: schema.Type) -> Managers:
    """The live object's owners; one that nobody applied before is owned by a stand-in."""
    if live is None:
        return {}
    managers = _decode(objects.metadata(live).get("managedFields"))
    if managers:
        return managers
    owner = Owner(BEFORE_APPLY, "Update", write.api_version, "")
    fields = fieldset.outside(comparison.creation(live, type), write.kept)
    return {owner: Entry(owner, write.api_version, _time(write), fields)} if fields else {}


def _all_fields(others: Managers, said: Set | None) -> Set | None:
    fields = said
    for entry in others.values():
        fields = fieldset.union(fields, entry.fields)
    return fields


def _applied_entry(last: Entry | None, wanted: Set | None, write: Write, *, is_same: bool) -> Entry | None:
    """The applier's entry; its time changes only when the object or what it owns does."""
    if wanted is None:
        return None
    if last is not None and is_same and last.fields == wanted and last.api_version == write.api_version:
        return last
    return Entry(_owner(write), write.api_version, _time(write), wanted)


def _ownable(fields: Set | None, write: Write) -> Set | None:
    """Those of the fields that somebody can come to own through this write's door."""
    return fieldset.outside(fieldset.stripped(fields), write.kept)


def _content(obj: Tree) -> Tree:
    """The object without its managedFields, which nobody owns."""
    meta = obj.get("metadata")
    if not meta or "managedFields" not in meta:
        return obj
    return {**obj, "metadata": {name: value for name, value in meta.items() if name != "managedFields"}}


def _owner(write: Write) -> Owner:
    version = "" if write.operation == "Apply" else write.api_version
    return Owner(write.manager, write.operation, version, write.subresource)


def _time(write: Write) -> str:
    return timestamps.format(write.now)


def _is_reset(entries: Any) -> bool:
    """A client says [] or [{}] to have all entries dropped."""
    return isinstance(entries, list) and len(entries) == 1 and entries[0] == {}


def _decode(entries: Any) -> Managers | None:
    """The owners in a list of entries; None when one of them is no entry."""
    known = _KNOWN.get(id(entries))
    if known is not None and known[0] is entries:
        return known[1]
    managers: Managers = {}
    for entry in entries or ():
        operation, version = entry.get("operation"), entry.get("apiVersion")
        fields = entry.get("fieldsV1")
        if operation not in {"Apply", "Update"} or not version or entry.get("fieldsType") != "FieldsV1":
            return None
        if fields is not None and not isinstance(fields, dict):
            return None
        named = "" if operation == "Apply" else version
        owner = Owner(entry.get("manager") or "", operation, named, entry.get("subresource") or "")
        managers[owner] = Entry(owner, version, entry.get("time") or "", fields or {}, entry)
    return managers


def _decode_checked(entries: Any) -> Managers | None:
    """The owners in entries that a client sent; None when they are not well-formed."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return None
    managers = _decode(entries)
    if managers is None or not all(fieldset.is_valid(entry.fields) for entry in managers.values()):
        return None
    return {owner: entry._replace(shown=None) for owner, entry in managers.items()}  # the server words them its own way


def _encode(managers: Managers) -> list[Tree]:
    """Entries in upstream's order: appliers first, then by time and name."""
    entries = [entry for entry in managers.values() if entry.fields]
    if len(entries) > 1:
        entries.sort(key=lambda e: (e.owner.operation, e.time, e.owner.manager, e.api_version, e.owner.subresource))
    shown, again = [], {}
    for entry in entries:
        made = _encoded(entry)
        shown.append(made)
        again[entry.owner] = entry if entry.shown is made else entry._replace(shown=made)
    if len(_KNOWN) >= MAX_KNOWN:
        _KNOWN.clear()
    _KNOWN[id(shown)] = shown, again
    return shown


def _encoded(entry: Entry) -> Tree:
    if entry.shown is not None:
        return entry.shown
    shown: Tree = {
        "manager": entry.owner.manager,
        "operation": entry.owner.operation,
        "apiVersion": entry.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fieldset.shared(entry.fields),
    }
    if not entry.time:
        del shown["time"]
    if entry.owner.subresource:
        shown["subresource"] = entry.owner.subresource
    return shown
