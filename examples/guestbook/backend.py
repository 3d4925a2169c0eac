"""The guestbook's back end: keeps entries in an append-only file, and answers JSON over HTTP.

GET /entries lists them; POST /entries with a text adds one, acknowledged once it is on disk.
"""

import json
import os
import pathlib
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = pathlib.Path(os.environ.get("GUESTBOOK_FILE", "/data/entries.jsonl"))


class Handler(BaseHTTPRequestHandler):
    """One entry a line."""

    def do_GET(self) -> None:
        entries = FILE.read_text().splitlines() if FILE.exists() else []
        self.answer(200, [json.loads(line) for line in entries])

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        with FILE.open("a") as file:
            file.write(json.dumps(text[:500]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.answer(201, text)

    def answer(self, code: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # as process 1 it would not hear it otherwise
    FILE.parent.mkdir(parents=True, exist_ok=True)
    print(f"serving {FILE} on port 6380", flush=True)
    ThreadingHTTPServer(("", 6380), Handler).serve_forever()
