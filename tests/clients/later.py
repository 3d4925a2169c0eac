"""One request by a kubeconfig: KUBECONFIG METHOD PATH, with a body from stdin. Its clock can be made up, which kubectl's can't."""

import base64
import ssl
import sys
import tempfile
import urllib.request

import yaml


def main(kubeconfig: str, method: str, path: str) -> None:
    with open(kubeconfig) as file:
        config = yaml.safe_load(file)
    (cluster,), (user,) = ([entry[name] for entry in config[f"{name}s"]] for name in ("cluster", "user"))
    context = ssl.create_default_context(cadata=text(cluster, "certificate-authority"))
    with tempfile.NamedTemporaryFile("w") as pair:
        pair.write(text(user, "client-certificate") + text(user, "client-key"))
        pair.flush()
        context.load_cert_chain(pair.name)
    body = sys.stdin.buffer.read() or None
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(cluster["server"] + path, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        print(answer.read().decode(), end="")


def text(entry: dict[str, str], name: str) -> str:
    return base64.b64decode(entry[f"{name}-data"]).decode()


if __name__ == "__main__":
    main(*sys.argv[1:])
