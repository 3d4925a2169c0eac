"""Text: a verdict as people read it, and as programs do."""

from collections.abc import Iterator, Sequence
from typing import Any

from sampan.platform.health import words
from sampan.platform.health.verdict import FAILED, HEALTHY, PROGRESSING, STUCK, Verdict

HOW = {HEALTHY: "is healthy", PROGRESSING: "is on its way", STUCK: "is stuck", FAILED: "has failed"}


def one(verdict: Verdict, unread: Sequence[str] = ()) -> str:
    """Headline, chain of causes, evidence, next steps, and what could not be looked at."""
    lines = [headline(verdict)]
    if not verdict.is_healthy:
        lines += ["", *_chains(verdict, "  ")]
        root = verdict.root
        shown = tuple(dict.fromkeys((*verdict.evidence, *root.evidence)))
        if shown:
            lines += ["", "What shows it:", *(f"  {each.source:<9} {each.text}" for each in shown)]
        if verdict.steps:
            lines += ["", "What to do:", *(f"  {step}" for step in verdict.steps)]
    return _joined([*lines, *_unread(unread)])


def headline(verdict: Verdict) -> str:
    """One line: what, how, and the root of it."""
    return words.plain(_headline(verdict))


def _headline(verdict: Verdict) -> str:
    if verdict.is_healthy:
        return f"{verdict.subject} is healthy: it {verdict.message}"
    root = verdict.root
    said = f"{verdict.subject} {HOW[verdict.state]}: "
    if root is verdict:
        return (
            f"{said}it {root.message} ({root.reason})"
            if _is_predicate(root)
            else f"{said}{root.message} ({root.reason})"
        )
    return f"{said}{root.subject}: {root.message} ({root.reason})"


def several(verdicts: Sequence[Verdict], namespace: str, unread: Sequence[str] = ()) -> str:
    """Each that is not healthy, with its next step; causes that several share are told once.

    With the namespace "" they are those of the whole cluster, and each is said with its own.
    """
    where = f"namespace {namespace}" if namespace else "all namespaces"
    if not verdicts:
        what = "everything that you may read" if unread else "everything"
        return _joined([f"{what} is healthy in {where}", *_unread(unread)])
    lines, seen = [f"{len(verdicts)} not healthy in {where}:"], dict[tuple[str, ...], str]()
    for verdict in verdicts:
        root = verdict.root
        key = (root.namespace, _place(verdict), root.subject, root.reason, root.message)
        home = f"{verdict.namespace}: " if verdict.namespace and not namespace else ""
        lines.append("")
        if key in seen:
            lines.append(f"{home}{verdict.subject} {HOW[verdict.state]} because of the same as {seen[key]}")
            continue
        seen[key] = f"{home}{verdict.subject}"
        lines.append(f"{home}{headline(verdict)}")
        lines += [f"  {step}" for step in verdict.steps[:2]]
    more = "More about one of them: sampan why KIND/NAME" + ("" if namespace else " -n NAMESPACE")
    return _joined([*lines, "", more, *_unread(unread)])


def hidden(unread: Sequence[str]) -> str:
    """One line on what could not be read, and so was not looked at."""
    return words.plain(f"not looked at, for it can't be read: {words.listed(unread, 8)}") if unread else ""


def tree(verdict: Verdict, unread: Sequence[str] = ()) -> dict[str, Any]:
    """The same for programs; what is empty is left out."""
    found: dict[str, Any] = {
        "subject": verdict.subject,
        "namespace": verdict.namespace,
        "state": verdict.state,
        "reason": verdict.reason,
        "message": verdict.message,
        "alike": verdict.alike,
        "evidence": [{"source": each.source, "text": each.text} for each in verdict.evidence],
        "next": list(verdict.next),
        "causes": [tree(cause) for cause in verdict.causes],
        "unread": list(unread),
    }
    return {name: value for name, value in found.items() if value or name in ("state", "subject")}


def _joined(lines: Sequence[str]) -> str:
    """Lines that do nothing to a terminal but stand there."""
    return "\n".join(words.plain(line) for line in lines)


def _unread(unread: Sequence[str]) -> tuple[str, ...]:
    return ("", hidden(unread)) if unread else ()


def _chains(verdict: Verdict, indent: str, mark: str = "") -> Iterator[str]:
    """One line for each, causes below what they cause."""
    more = f", and {verdict.alike} more like it" if verdict.alike else ""
    yield f"{indent}{mark}{verdict.subject}: {verdict.message}{more}"
    for cause in verdict.causes:
        if cause.state != HEALTHY:
            yield from _chains(cause, indent + ("   " if mark else ""), "└─ ")


def _is_predicate(verdict: Verdict) -> bool:
    """Whether its message is what follows "it"."""
    return verdict.message[:1].islower() and verdict.message.split(" ", 1)[0] not in ("image", "there", "no")


def _place(verdict: Verdict) -> str:
    """The pod in which the root is, for containers of one name in different pods are not the same."""
    chain = verdict.chain
    return chain[-2].subject if len(chain) > 1 and "/" not in chain[-1].subject else ""
