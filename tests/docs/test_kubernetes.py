"""The manifests of ops/kubernetes are valid against the schemas of Kubernetes."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from tests import ROOT

KUBERNETES = ROOT / "ops" / "kubernetes"
VERSIONS = ("1.30", "1.37")
OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("*/kustomization.yaml"))
# Parts of resources, which only an overlay makes whole.
PATCHES = {"fetch-model.yaml", "allow-fetching.yaml"}
RESOURCES = sorted(
    path.relative_to(KUBERNETES)
    for path in KUBERNETES.rglob("*.yaml")
    if path.name != "kustomization.yaml" and path.name not in PATCHES
)


def _read(text: str) -> list[dict[str, Any]]:
    return [resource for resource in yaml.safe_load_all(text) if resource]


@pytest.fixture(scope="module")
def built() -> dict[str, list[dict[str, Any]]]:
    """Return the resources of each overlay as kustomize builds them."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl, which builds the overlays, is not installed")
    built = {}
    for overlay in OVERLAYS:
        command = [kubectl, "kustomize", str(KUBERNETES / overlay)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        built[overlay] = _read(done.stdout)
    return built


def _container(resources: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    (deployment,) = (found for found in resources if found["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", RESOURCES, ids=str)
def test_resource_is_valid(path: Path, version: str) -> None:
    resources = _read((KUBERNETES / path).read_text(encoding="utf-8"))
    assert resources
    for resource in resources:
        validate(resource, version, strict=True)


def test_every_resource_is_listed_by_its_overlay() -> None:
    for path in KUBERNETES.rglob("kustomization.yaml"):
        text = path.read_text(encoding="utf-8")
        for other in path.parent.glob("*.yaml"):
            assert other.name == path.name or other.name in text, other


@pytest.mark.parametrize("version", VERSIONS)
def test_built_overlay_is_valid(built: dict[str, list[dict[str, Any]]], version: str) -> None:
    for resources in built.values():
        for resource in resources:
            validate(resource, version, strict=True)


def test_overlays_without_a_shared_volume_claim_none(
    built: dict[str, list[dict[str, Any]]],
) -> None:
    for overlay in ("baked", "fetched"):
        kinds = {resource["kind"] for resource in built[overlay]}
        assert "PersistentVolumeClaim" not in kinds
        pod, _ = _container(built[overlay])
        assert not [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    pod, container = _container(built["fetched"])
    (fetching,) = pod["initContainers"]
    assert fetching["image"] == container["image"]
    assert {"name": "store", "emptyDir": {"sizeLimit": "1Gi"}} in pod["volumes"]
    _, container = _container(built["baked"])
    assert "store" not in {mount["name"] for mount in container["volumeMounts"]}


def test_deployment_agrees_with_the_compose_file_and_the_service() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    text = (KUBERNETES / "base" / "deployment.yaml").read_text(encoding="utf-8")
    pod, container = _container(_read(text))
    memory = compose["services"]["serve"]["mem_limit"]
    assert container["resources"]["limits"]["memory"] == memory.replace("m", "Mi")
    dockerfile = (ROOT / "Dockerfile.serve").read_text(encoding="utf-8")
    user = re.search(r"^USER (\d+)$", dockerfile, re.MULTILINE)
    assert user is not None
    assert pod["securityContext"]["runAsUser"] == int(user[1])
    settings = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for variable in container["env"]:
        assert variable["name"] in settings


def test_scoring_job_has_a_task_per_completion() -> None:
    (job,) = _read((KUBERNETES / "scoring" / "job.yaml").read_text(encoding="utf-8"))
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    (container,) = spec["template"]["spec"]["containers"]
    task = f"--task=$(JOB_COMPLETION_INDEX)/{spec['completions']}"
    assert container["args"] == ["/pictures", "/answers", task]
