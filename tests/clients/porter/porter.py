"""What runs in the pods of tests of services: says who was asked for what, echoes upgrades, and is a guestbook's parts.

By its role a guestbook's front, its primary, which keeps messages, or a replica, which is told them by the primary.
SIGTERM ends it when what is under way has been answered, and nobody has asked who it is for a while.
"""

import http.server
import json
import os
import signal
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request

ROLE = os.environ.get("ROLE", "")
HTTP_PORT, TLS_PORT = 8080, 8443
QUIET_SECONDS = 3.0
PAGE = b'<html><a href="/rewriteme">test</a></html>'

messages: list[str] = []
replicas: list[str] = []
asked_who = [0.0]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers any method; one connection is one request unless the client wants to keep it."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """By its path."""
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        if self.headers.get("Upgrade") == "shout":
            self.shout()
        elif path == "/page":
            self.send(200, PAGE, "text/html")
        elif path == "/who":
            asked_who[0] = time.monotonic()
            self.send(200, socket.gethostname().encode(), "text/plain")
        elif path == "/redirect":
            self.send(302, b"", "text/plain", Location="/elsewhere")
        elif path == "/guestbook":
            self.send(200, guestbook(asked), "application/json")
        else:
            self.send(200, json.dumps(self.told()).encode(), "application/json")

    def told(self) -> dict[str, object]:
        """What was asked, and of whom."""
        length = sum(map(len, self.body()))
        is_tls = isinstance(self.connection, ssl.SSLSocket)
        return {
            "method": self.command, "path": self.path, "length": length, "who": socket.gethostname(), "tls": is_tls,
            "from": self.client_address[0], "uri": self.headers.get("X-Forwarded-Uri", ""),
        }  # fmt: skip

    def body(self) -> list[bytes]:
        """In pieces, by length or chunked."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return [self.rfile.read(int(self.headers.get("Content-Length") or 0))]
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return pieces

    def shout(self) -> None:
        """Gives each line back in capitals, until there are no more."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
        for line in self.rfile:
            self.wfile.write(line.upper())

    def send(self, code: int, body: bytes, media: str, **headers: str) -> None:
        """A whole answer."""
        self.send_response(code)
        for name, value in {"Content-Type": media, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = answer  # noqa: N815


def guestbook(asked: dict[str, str]) -> bytes:
    """`cmd` is get, set or register; the front asks the others by their names."""
    command, value = asked.get("cmd"), asked.get("value", "")
    if ROLE == "front":
        return fetch("primary" if command == "set" else "replica", asked)
    if command == "register":
        replicas.append(value)
    elif command == "set":
        messages.append(value)
        for replica in replicas:
            fetch(replica, {"cmd": "set", "value": value})
    return json.dumps(messages).encode()


def joined() -> bytes:
    """What the primary tells a new replica, as soon as there is one."""
    while True:
        try:
            return fetch("primary", {"cmd": "register", "value": os.environ["POD_IP"]})
        except OSError:
            time.sleep(0.1)


def fetch(host: str, asked: dict[str, str]) -> bytes:
    """The other's answer."""
    url = f"http://{host}:{HTTP_PORT}/guestbook?{urllib.parse.urlencode(asked)}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())


class Server(http.server.ThreadingHTTPServer):
    """One thread for each connection."""

    request_queue_size = 128

    def __init__(self, port: int, tls: bool = False) -> None:
        super().__init__(("", port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain("/app/tls.pem")
            self.socket = context.wrap_socket(self.socket, server_side=True)


def main() -> None:
    """Serves until SIGTERM."""
    if ROLE == "replica":
        messages.extend(json.loads(joined()))
    servers = [Server(HTTP_PORT), Server(TLS_PORT, tls=True)]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    while not ended.wait(0.05):  # a signal that another thread has taken is seen by this one only when it wakes up
        pass
    while time.monotonic() < asked_who[0] + QUIET_SECONDS:
        time.sleep(0.05)
    for server in servers:
        server.shutdown()
    time.sleep(0.1)  # for answers that are under way
    os._exit(0)


if __name__ == "__main__":
    main()
