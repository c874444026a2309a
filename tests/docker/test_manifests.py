"""The Kubernetes manifests against the schemas that Kubernetes publishes. Of LeaderWorkerSet and PodMonitor there is no schema
to be had offline: of the former the pod templates are checked, of the latter that it finds the port it names."""
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "docker" / "kubernetes"
VERSIONS = ["1.29", "1.33"]
OVERLAYS = ["cpu", "gpu"]


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def base():
    return [document for file in sorted((KUBERNETES / "base").glob("*.yaml")) if file.name != "kustomization.yaml"
            for document in documents(file.read_text())]


def old(program):
    """Whether it is a kubectl whose kustomize does not know the field labels: Debian 12's, for one."""
    if program != "kubectl":
        return False
    told = subprocess.run([program, "version", "--client", "--output", "json"], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, re.search(r'"gitVersion": *"v(\d+)\.(\d+)', told).groups())
    return (major, minor) < (1, 22)


def rendered(overlay, manifests=KUBERNETES):
    """What kustomize makes of an overlay."""
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]) and not old(command[0]):
            done = subprocess.run([*command, str(manifests / "overlays" / overlay)], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return documents(done.stdout)
    pytest.skip("neither kustomize nor kubectl 1.22 is here: the overlays were not rendered")


def validate(document, version):
    kind = document["kind"]
    if kind == "LeaderWorkerSet":
        for role in ("leaderTemplate", "workerTemplate"):
            template = document["spec"]["leaderWorkerTemplate"][role]
            kubernetes_validate.validate({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": role},
                                          "template": template}, version, strict=True)
    elif kind != "PodMonitor":
        kubernetes_validate.validate(document, version, strict=True)


def templates(all_documents):
    """The pod templates, by component and role."""
    for document in all_documents:
        if document["kind"] == "Deployment":
            yield document["spec"]["template"]
        elif document["kind"] == "LeaderWorkerSet":
            group = document["spec"]["leaderWorkerTemplate"]
            yield group["leaderTemplate"]
            yield group["workerTemplate"]


def check_pods(all_documents):
    found = list(templates(all_documents))
    assert len(found) == 3
    for template in found:
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        # The Service named batchmax would become BATCHMAX_PORT in the environment, and a setting.
        assert spec["enableServiceLinks"] is False
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"]["cpu"] and container["resources"]["limits"]["memory"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert "readinessProbe" in container
    monitor = next(document for document in all_documents if document["kind"] == "PodMonitor")
    ports = [port["name"] for template in found for container in template["spec"]["containers"]
             for port in container.get("ports", [])
             if monitor["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()]
    assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= set(ports)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_base_follows_the_schemas(version):
    for document in base():
        validate(document, version)


def test_pods_are_closed_probed_and_sized():
    check_pods(base())


def test_a_misspelt_field_would_be_noticed():
    group = next(document for document in base() if document["kind"] == "LeaderWorkerSet")
    container = group["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"]["containers"][0]
    container["readynessProbe"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(group, VERSIONS[0])


def test_a_group_restarts_as_a_whole():
    group = next(document for document in base() if document["kind"] == "LeaderWorkerSet")
    assert group["spec"]["leaderWorkerTemplate"]["restartPolicy"] == "RecreateGroupOnPodRestart"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_render_to_what_follows_the_schemas(overlay):
    all_documents = rendered(overlay)
    for document in all_documents:
        for version in VERSIONS:
            validate(document, version)
    check_pods(all_documents)
    settings = next(document for document in all_documents if document["kind"] == "ConfigMap")["data"]
    group = next(document for document in all_documents if document["kind"] == "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    ranks = group["size"] * int(group["leaderTemplate"]["spec"]["containers"][0]["command"][1])
    assert ranks == int(settings["BATCHMAX_TENSOR_PARALLEL_SIZE"])


def test_a_second_version_stands_beside_the_first_in_a_namespace_of_its_own(tmp_path):
    overlay = re.search(r"^((?:    .*\n)*    resources: \[\.\./cpu\]\n(?:    .*\n)*)", (KUBERNETES.parent / "README.md").read_text(),
                        re.MULTILINE)[1]
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    (tmp_path / "kubernetes" / "overlays" / "next").mkdir()
    (tmp_path / "kubernetes" / "overlays" / "next" / "kustomization.yaml").write_text(textwrap.dedent(overlay))
    found = rendered("next", tmp_path / "kubernetes")
    assert {document["metadata"].get("namespace", document["metadata"]["name"]) for document in found} == {"batchmax-next"}
    assert {container["image"] for template in templates(found) for container in template["spec"]["containers"]} == {"batchmax:next"}
