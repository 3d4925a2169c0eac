"""What went over the network interfaces of a namespace, as the kernel counts it for each."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Interface:
    """Bytes, packets, errors and dropped packets, received and sent, since it is there."""

    name: str
    received: tuple[int, int, int, int]
    sent: tuple[int, int, int, int]


def of_process(pid: int | str) -> tuple[Interface, ...]:
    """The interfaces that a process sees, but for loopback; none when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return ()
    found = []
    for line in lines:
        name, _, rest = line.partition(":")
        numbers = [int(word) for word in rest.split()]
        if name.strip() != "lo":
            found.append(Interface(name.strip(), _four(numbers[:4]), _four(numbers[8:12])))
    return tuple(found)


def _four(numbers: list[int]) -> tuple[int, int, int, int]:
    return numbers[0], numbers[1], numbers[2], numbers[3]
