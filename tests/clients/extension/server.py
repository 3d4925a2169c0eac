"""Admission webhooks, a conversion webhook and an extension API server in one program, with Python's library only.

It runs in a pod: its certificate is in /tls, whom it believes is in the cluster's own ConfigMap, and whether a
user may do what they ask is for the cluster to say.
"""

import base64
import json
import os
import ssl
import tempfile
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
GROUP = "ext.example.org"
API = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
NOTES: dict[tuple[str, str], dict[str, Any]] = {}
SERIAL = [0]


def api(method: str, path: str, body: Any = None) -> Any:
    """Asks the cluster, as the pod's own account."""
    headers = {"authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, headers, method=method)  # noqa: S310 (https, see API)
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def mutate(request: Any) -> Any:
    """Labels what is created with who created it."""
    labels = request["object"]["metadata"].get("labels") or {}
    patch = [{"op": "add", "path": "/metadata/labels", "value": {**labels, "mutated-by": "a-pod"}}]
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}


def validate(request: Any) -> Any:
    """Refuses what says so."""
    labels = request["object"]["metadata"].get("labels") or {}
    if "refuse" in labels:
        return {"allowed": False, "status": {"code": 403, "message": f"refused: {labels['refuse']}"}}
    return {"allowed": True, "warnings": [f"seen as {labels.get('mutated-by')}"]}


def convert(request: Any) -> Any:
    """v1 has spec.size, v2 has spec.amount."""
    found = []
    for obj in request["objects"]:
        spec = dict(obj["spec"])
        old, new = ("size", "amount") if request["desiredAPIVersion"].endswith("/v2") else ("amount", "size")
        if old in spec:
            spec[new] = spec.pop(old)
        found.append({**obj, "apiVersion": request["desiredAPIVersion"], "spec": spec})
    return {"convertedObjects": found, "result": {"status": "Success"}}


class Handler(BaseHTTPRequestHandler):
    """One class for all of it, by path."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        path = urllib.parse.urlsplit(self.path).path
        if path.startswith("/apis/"):
            return self.serve_api("create", path, body)
        answer = {"/mutate": mutate, "/validate": validate, "/convert": convert}[path](body["request"])
        response = {"uid": body["request"]["uid"], **answer}
        return self.answer(200, {"apiVersion": body["apiVersion"], "kind": body["kind"], "response": response})

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        self.serve_api("get" if path.count("/") == 7 else "list", path, None)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urllib.parse.urlsplit(self.path).path
        self.serve_api("delete" if path.count("/") == 7 else "deletecollection", path, None)

    def serve_api(self, verb: str, path: str, body: Any) -> None:
        """/apis/GROUP/v1[/namespaces/NS/notes[/NAME]], for those whom the front proxy vouches for."""
        names = {value for part in (self.connection.getpeercert() or {}).get("subject", ()) for _, value in part}
        if not names & ALLOWED:
            return self.refuse(401, "Unauthorized")
        if path == f"/apis/{GROUP}/v1":
            verbs = ["create", "delete", "deletecollection", "get", "list"]
            note = {"name": "notes", "singularName": "note", "namespaced": True, "kind": "Note", "verbs": verbs}
            head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/v1"}
            return self.answer(200, {**head, "resources": [note]})
        parts = path.split("/")[4:]
        if len(parts) not in (1, 3, 4) or "notes" not in parts:
            return self.refuse(404, "NotFound")
        namespace, name = parts[1] if len(parts) > 1 else "", parts[3] if len(parts) == 4 else ""
        if not self.may(verb, namespace, name):
            return self.refuse(403, "Forbidden")
        return self.do(verb, namespace, name, body)

    def may(self, verb: str, namespace: str, name: str) -> bool:
        """The cluster's word on the user in the request's headers."""
        asked = {"group": GROUP, "resource": "notes", "verb": verb, "namespace": namespace, "name": name}
        groups = self.headers.get_all("X-Remote-Group") or []
        spec = {"user": self.headers["X-Remote-User"], "groups": groups, "resourceAttributes": asked}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        return bool(api("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"])

    def do(self, verb: str, namespace: str, name: str, body: Any) -> None:
        found = [note for (ns, _), note in sorted(NOTES.items()) if namespace in ("", ns)]
        if verb == "list":
            head = {"kind": "NoteList", "apiVersion": f"{GROUP}/v1", "metadata": {"resourceVersion": str(SERIAL[0])}}
            return self.answer(200, {**head, "items": found})
        if verb == "create":
            SERIAL[0] += 1
            name = body["metadata"]["name"]
            more = {"namespace": namespace, "uid": f"note-{SERIAL[0]}", "resourceVersion": str(SERIAL[0])}
            body["metadata"] |= {**more, "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
            body["author"] = self.headers["X-Remote-User"]
            NOTES[namespace, name] = body
            return self.answer(201, body)
        if verb == "deletecollection":
            for note in found:
                del NOTES[namespace, note["metadata"]["name"]]
            return self.answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        if (namespace, name) not in NOTES:
            return self.refuse(404, "NotFound")
        note = NOTES.pop((namespace, name)) if verb == "delete" else NOTES[namespace, name]
        return self.answer(200, note)

    def refuse(self, code: int, reason: str) -> None:
        failure = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        self.answer(code, {**failure, "reason": reason, "message": f"the extension says {reason}", "code": code})

    def answer(self, code: int, tree: Any) -> None:
        data = json.dumps(tree).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    config = api("GET", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")["data"]
    ALLOWED = set(json.loads(config["requestheader-allowed-names"]))
    with tempfile.NamedTemporaryFile("w", delete=False) as file:
        file.write(config["requestheader-client-ca-file"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
    context.load_verify_locations(file.name)
    context.verify_mode = ssl.CERT_OPTIONAL
    server = ThreadingHTTPServer(("0.0.0.0", 8443), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print("serving", flush=True)
    server.serve_forever()
