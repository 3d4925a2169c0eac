"""10,000 custom resources with a schema of some size: made, and listed; in turn with the bare server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.table.client import Client, Run, in_turn, spread, teach
from benchmarks.table.cluster import cluster
from benchmarks.table.placing import until
from benchmarks.table.requests import PLAIN, lists, rate, sides
from benchmarks.table.rows import Figure

GROUP = "bench.example.com"
PATH = f"/apis/{GROUP}/v1/namespaces/bench/machines"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ROUNDS = 4
TEXT = {"type": "string", "maxLength": 200}


async def measure(short: bool) -> AsyncIterator[Figure]:
    count = 1000 if short else 10_000
    with cluster(*PLAIN) as made:
        async with sides(made) as (ours, other):
            await define(ours)
            answer = await ours.send("POST", PATH, machine("first"))
            await teach(other, answer, "first")

            async def create(client: Client, number: int) -> Run:
                return await spread(
                    client, count // ROUNDS, 32, lambda n: client.send("POST", PATH, machine(f"m-{number}-{n}"))
                )

            yield rate("custom-create", await in_turn(ours, other, create, ROUNDS), ours)
            yield await lists("custom-list", ours, other, PATH)


def machine(name: str) -> dict[str, Any]:
    """A custom resource of about a kilobyte, as stored."""
    disks = [{"name": f"disk-{n}", "gigabytes": 10 * n} for n in range(4)]
    spec = {"image": "debian-12", "cores": 4, "disks": disks, "labels": {f"key-{n}": "v" * 20 for n in range(6)}}
    return {"apiVersion": f"{GROUP}/v1", "kind": "Machine", "metadata": {"name": name}, "spec": spec}


async def define(client: Client) -> None:
    """The definition, with defaults and a rule; returns when it is served."""
    disk = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": TEXT, "gigabytes": {"type": "integer", "minimum": 0}},
    }
    spec = {
        "type": "object",
        "properties": {
            "image": TEXT,
            "cores": {"type": "integer", "minimum": 1, "maximum": 128},
            "power": {"type": "string", "enum": ["On", "Off"], "default": "On"},
            "disks": {"type": "array", "maxItems": 16, "items": disk},
            "labels": {"type": "object", "maxProperties": 32, "additionalProperties": TEXT},
        },
        "x-kubernetes-validations": [{"rule": "self.cores <= 64 || self.power == 'On'"}],
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    names = {"plural": "machines", "singular": "machine", "kind": "Machine"}
    body = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": versions}
    name = f"machines.{GROUP}"
    await client.send("POST", DEFINITIONS, {"metadata": {"name": name}, "spec": body})
    for _ in range(100):
        found = await client.get(f"{DEFINITIONS}/{name}")
        conditions = {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", ())}
        if conditions.get("Established") == "True":
            break
        await asyncio.sleep(0.05)
    await until(client, PATH, 0)
