"""Small programs that run inside pods' namespaces, or on the host: servers that say who asked, and clients."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sampan.node.network.pod_network import PodAttachment

_SERVER = """
import socket, sys, threading
kind, host, port, name = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
def tell(peer): return f"{name} {peer[0]}".encode()
s = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((host, port))
if kind == "udp":
    print("up", flush=True)
    while True:
        _, peer = s.recvfrom(99)
        s.sendto(tell(peer), peer)
s.listen()
print("up", flush=True)
while True:
    c, peer = s.accept()
    c.sendall(tell(peer)); c.close()
"""
_CLIENT = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
s.settimeout(float(sys.argv[4]))
try:
    s.connect((host, port)); s.send(b"?") if kind == "udp" else None
    print(s.recv(99).decode())
except OSError as error:
    print(error.strerror or error)
"""


def _within(pod: PodAttachment | None) -> tuple[str, ...]:
    return ("nsenter", f"--net={pod.netns_path}") if pod else ()


@asynccontextmanager
async def server(
    pod: PodAttachment | None, name: str, port: int, kind: str = "tcp", host: str = "0.0.0.0"
) -> AsyncIterator[None]:
    """Answers each client with the server's name and the client's address."""
    command = (*_within(pod), sys.executable, "-c", _SERVER, kind, host, str(port), name)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def ask(host: str, port: int, pod: PodAttachment | None = None, kind: str = "tcp", patience: float = 3.0) -> str:
    """What the server answers to the pod, or to the host; else why not."""
    return await run(sys.executable, "-c", _CLIENT, kind, host, str(port), str(patience), pod=pod)


async def run(*command: str, pod: PodAttachment | None = None) -> str:
    """What the command prints."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*_within(pod), *command, stdout=pipe, stderr=pipe)
    output, errors = await process.communicate()
    return (output + errors).decode().strip()
