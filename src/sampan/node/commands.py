"""Requests that do something in a container and answer when it is done: a command's output; checkpoints, which are refused."""

from sampan.node import log_requests
from sampan.node.agent import Agent
from sampan.node.log_requests import Refusal
from sampan.node.runtime.protocol import RUNNING
from sampan.web.message import Request, Response

PATHS = {("run", 3), ("run", 4), ("checkpoint", 3)}
"""First part and number of the others: NAMESPACE/POD[/UID]/CONTAINER."""
LONGEST_SECONDS = 600.0


async def run(agent: Agent, request: Request, what: str, names: list[str]) -> Response:
    """Raises Refusal; RuntimeFailure when the container can't."""
    if request.method != "POST":
        raise Refusal(405, "405: Method Not Allowed")
    namespace, name, container = names[0], names[1], names[-1]
    record = log_requests.find(agent, namespace, name, container)
    state = next((s for s in record.states.values() if s.name == container and s.state == RUNNING), None)
    if state is None:
        raise Refusal(500, f'container not found ("{container}")')
    if what == "checkpoint":
        why = f"{agent.parts.runtime.version.partition('://')[0]} containers of this node can't be checkpointed"
        raise Refusal(500, f"checkpointing of {namespace}/{name}/{container} failed ({why})")
    command = tuple(request.param("cmd").split(" "))
    try:
        code, output = await agent.parts.runtime.exec_sync(state.id, command, LONGEST_SECONDS)
    except TimeoutError as error:
        raise Refusal(500, f"command {command!r} timed out") from error
    if code:
        said = output.decode("utf-8", "replace")
        raise Refusal(500, f"command '{' '.join(command)}' exited with {code}: {said}")
    return Response(200, output)
