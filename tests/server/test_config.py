"""The server's configuration: several documents in one file, each read strictly."""

import pytest

from sampan.server.config import ConfigError, ServerConfig, read

ADMISSION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, enforce-version: latest, warn: restricted}
    exemptions: {namespaces: [kube-system]}
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources:
    - {resource: pods, matchScopes: [{scopeName: PriorityClass, operator: In, values: [high]}]}
"""
POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"


def test_documents_are_told_apart_by_kind() -> None:
    """Each is there once; empty ones do not matter; nothing at all is upstream's default."""
    found = read(f"---\n{ADMISSION}---\n# nothing\n---\n{POLICY}".encode())
    assert found.admission.of("PodSecurity")["defaults"]["enforce"] == "baseline"
    assert found.admission.of("ResourceQuota")["limitedResources"][0]["resource"] == "pods"
    assert found.admission.of("AlwaysPullImages") == {}
    assert found.audit is not None
    assert read(b"") == ServerConfig()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (POLICY + "---\n" + POLICY, "a second Policy"),
        ("kind: Polcy", "kind 'Polcy': use one of Authentication"),
        ("- a", "no mapping"),
        ("a: [", "no YAML"),
        (POLICY.replace("audit.k8s.io/v1", "audit.k8s.io/v1beta1"), "use audit.k8s.io/v1"),
        (POLICY.replace("level", "levle"), "level is missing"),
        (POLICY.replace("Metadata", "Metadata, verb: get"), r"rules\[0\].verb is not known here"),
        (POLICY.replace("Metadata", "Metadata, nonResourceURLs: ['x']"), "a path, which may end in"),
        (POLICY.replace("Metadata", "Metadata, omitStages: [Never]"), "RequestReceived"),
        (POLICY.replace("Metadata", "Metadata, resources: [{resourceNames: [a]}]"), "needs resources"),
        (POLICY.replace("[{level: Metadata}]", "[]"), "records every request"),
        (ADMISSION.replace("baseline", "strict"), "privileged, baseline, restricted"),
        (ADMISSION.replace("latest", "v2"), "use latest or v1.36"),
        (ADMISSION.replace("name: ResourceQuota", "name: Quota"), "only PodSecurity, ResourceQuota"),
        (ADMISSION.replace("resource: pods", "resources: pods"), "resource is missing"),
    ],
)
def test_a_mistake_is_named(text: str, why: str) -> None:
    """With the document, the field and what to write instead."""
    with pytest.raises(ConfigError, match=why):
        read(text.encode())
