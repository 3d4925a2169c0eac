"""The guestbook's web frontend: a page with the entries, and a form to add one."""

import html
import json
import os
import signal
import sys
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BACKEND = os.environ.get("BACKEND", "http://guestbook-backend:6380/entries")
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Guestbook</title>
<h1>Guestbook</h1>
<ul>{entries}</ul>
<form method="post"><input name="text" placeholder="Say hello" autofocus><button>Sign</button></form>
<p>Served by pod {pod} on node {node}.</p></html>
"""


class Handler(BaseHTTPRequestHandler):
    """The page, and /healthz for the readiness probe."""

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self.answer(200, "ok\n", "text/plain")
            return
        with urllib.request.urlopen(BACKEND, timeout=5) as reply:
            entries = json.load(reply)
        shown = "".join(f"<li>{html.escape(entry)}</li>" for entry in entries)
        names = {"pod": os.environ.get("POD_NAME", "?"), "node": os.environ.get("NODE_NAME", "?")}
        self.answer(200, PAGE.format(entries=shown, **names), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())
        text = form.get("text", [""])[0]
        urllib.request.urlopen(BACKEND, data=text.encode(), timeout=5).close()
        self.send_response(303)
        self.send_header("Location", "/")
        self.end_headers()

    def answer(self, code: int, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # as process 1 it would not hear it otherwise
    print("serving the guestbook on port 8080", flush=True)
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
