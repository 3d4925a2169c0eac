"""What came of a probe or a hook."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """`errored` when it could not even be tried; then the verdict is unknown. `warned`: a success with a doubt.

    `answered`: a web server answered, whatever it said; that is enough for a hook.
    """

    success: bool
    output: str = ""
    errored: bool = False
    answered: bool = False
    warned: bool = False


def dialled(host: str, number: int, error: OSError) -> str:
    """How a connection that couldn't be made is told of."""
    why = {111: "connection refused", 113: "no route to host", 101: "network is unreachable"}
    text = why.get(error.errno or 0, error.strerror or "connection failed")
    return f"dial tcp {host}:{number}: connect: {text}"
