"""Say why something is not healthy, and what to do about it; with no KIND/NAME, of all that is not in a namespace or anywhere.

Exit codes: 0 healthy, 1 not healthy (or the question failed: one line on stderr), 2 wrong usage.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampan.cli import asking, common
from sampan.cli.main import CommandError

if TYPE_CHECKING:
    from sampan.client.api import Client
    from sampan.platform.health.verdict import Verdict


class UsageError(Exception):
    """The command line names no kind or no object."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="*", metavar="KIND/NAME", help="as kubectl takes it: deployment/web, or deploy web"
    )
    parser.add_argument("-n", "--namespace", default="", help="the namespace (default: the kubeconfig's, or default)")
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", help="of all that is not healthy in any namespace"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for people, or for programs")
    common.cluster_arguments(parser)
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="ask the cluster of a kubeconfig: any cluster")
    parser.add_argument("--context", default="", help="a context of it other than the current one")


def run(arguments: argparse.Namespace) -> int:
    """1 for what is not healthy."""
    kubeconfig = arguments.kubeconfig or common.existing(arguments).path("kubeconfig")
    namespace = arguments.namespace or asking.access(kubeconfig, arguments.context).namespace

    async def answer(client: "Client") -> int:
        try:
            if arguments.what and arguments.all_namespaces:
                raise UsageError("one object can't be looked for in all namespaces; name its namespace with -n")
            if arguments.what:
                return await _one(client, _reference(arguments.what), namespace, arguments.output)
            return await _all(client, "" if arguments.all_namespaces else namespace, arguments.output)
        except UsageError as error:
            print(f"sampan why: {error}", file=sys.stderr)
            return 2

    return asking.ask(kubeconfig, answer, arguments.context)


async def _one(client: "Client", reference: str, namespace: str, output: str) -> int:
    from sampan.cluster import diagnosis, naming
    from sampan.kit.clock import SystemClock
    from sampan.platform.health import judge, text, words
    from sampan.platform.health.lookup import Known

    served = await diagnosis.kinds(client)
    try:
        named = naming.named(reference, served, namespace)
    except LookupError as error:
        raise UsageError(str(error.args[0])) from error

    def rule(look: Known) -> "Verdict | str":
        found = judge.one(named.kind, named.name, named.namespace, look)
        return found or words.nearest_object(named.name, look.list(named.kind, named.namespace))

    found, look = await diagnosis.carry_out(client, rule, SystemClock().now(), served)
    if isinstance(found, str):
        raise CommandError(f"there is no {named}{words.meant(found)}")
    _print(text.tree(found, look.unread) if output == "json" else text.one(found, look.unread))
    return 0 if found.is_healthy else 1


async def _all(client: "Client", namespace: str, output: str) -> int:
    from sampan.cluster import diagnosis
    from sampan.kinds.core.namespace import NAMESPACE
    from sampan.kit.clock import SystemClock
    from sampan.platform.health import judge, text
    from sampan.platform.health.lookup import UNREADABLE, Known

    def rule(look: Known) -> "tuple[Verdict, ...]":
        return judge.everything(namespace, look)

    found, look = await diagnosis.carry_out(client, rule, SystemClock().now(), await diagnosis.kinds(client))
    where = f"namespace {namespace}" if namespace else "all namespaces"
    if namespace and look.get(NAMESPACE, namespace) is None and not look.is_hidden(NAMESPACE, name=namespace):
        raise CommandError(f"there is no namespace {namespace}")
    if all(answer is UNREADABLE for answer in look.answers.values()):
        raise CommandError(f"you may read nothing of what is in {where}")
    if output == "json":
        _print([text.tree(each) for each in found])
        print(text.hidden(look.unread), end="\n" if look.unread else "", file=sys.stderr)
    else:
        _print(text.several(found, namespace, look.unread))
    return 1 if found else 0


def _reference(what: list[str]) -> str:
    """deployment/web, or deployment web."""
    if len(what) > 2 or (len(what) == 2 and "/" in what[0] + what[1]):
        raise UsageError(f"{' '.join(what)} is more than one object; write KIND/NAME")
    return "/".join(what)


def _print(found: Any) -> None:
    import json

    print(found if isinstance(found, str) else json.dumps(found, indent=2, ensure_ascii=False))
