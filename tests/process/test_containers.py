"""The Compose project: built and run, and confined."""

import os
import subprocess

import pytest
import yaml

from tests import ROOT

# Run inside a container of the project: what could an intruder do?
CONFINED = r"""
import ctypes, os, pathlib, socket, subprocess
assert (os.getuid(), os.getgid()) == (10001, 10001), "the wrong user"
facts = dict(
    line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines()
)
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    assert int(facts[name], 16) == 0, f"{name} is {facts[name]}"
assert facts["NoNewPrivs"].strip() == "1", "programs with the setuid bit can raise rights"

def refused(what, act):
    try:
        act()
    except OSError:
        return
    raise SystemExit(f"{what} is allowed")

for folder in FOLDERS:
    refused(f"writing to {folder}", lambda: open(f"{folder}/x", "w"))
refused("becoming root", lambda: os.setuid(0))
refused("another's file", lambda: os.chown("/tmp", 0, 0))
refused("a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == -1, "mounting is allowed"
script = pathlib.Path("/tmp/x")
script.write_text("#!/bin/sh\n")
script.chmod(0o755)
refused("a program from /tmp", lambda: subprocess.run([script]))
"""

# Posts the same picture twice from inside the service's container, and tries forbidden actions.
PROBE = (
    r"""
set -eu
serve() { "$COMPOSE_CMD" exec -T serve "$@"; }
serve python - <<'PY'
import io, json, pathlib, urllib.request
from PIL import Image
picture = io.BytesIO()
Image.new("RGB", (640, 480), (200, 150, 120)).save(picture, "JPEG")
part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
body = part + picture.getvalue() + b"\r\n" + part + picture.getvalue() + b"\r\n--x--\r\n"
request = urllib.request.Request(
    "http://127.0.0.1:8000/predict", body, {"Content-Type": "multipart/form-data; boundary=x"}
)
answer = json.load(urllib.request.urlopen(request, timeout=120))
assert [item["index"] for item in answer["predictions"]] == [0, 1], answer
assert answer["model"]["labels"] == ["mask", "no_mask"], answer
try:
    import torchvision
except ImportError:
    pass
else:
    raise SystemExit("torchvision is in the serving image")

def limit(*names):  # of control groups, version 2 or 1
    found = [p for name in names if (p := pathlib.Path("/sys/fs/cgroup") / name).exists()]
    return found[0].read_text().strip()

assert limit("pids.max", "pids/pids.max") == "128"
assert limit("memory.max", "memory/memory.limit_in_bytes") == str(2816 * 2**20)
PY
serve python - <<'PY'
FOLDERS = "/", "/app", "/store", "/etc", "/usr/local/bin", "/var", "/home", "/root"
"""
    + CONFINED
    + r"""
PY
"$COMPOSE_CMD" run --rm --no-deps -T --entrypoint python train - <<'PY'
FOLDERS = "/", "/app", "/data", "/etc", "/usr/local/bin", "/var", "/home", "/root"
"""
    + CONFINED
    + r"""
PY
# Callers of the balancer notice nothing of a replica that is killed.
"$COMPOSE_CMD" exec -T serve python - <<'PY' &
import io, threading, time, urllib.request
from PIL import Image
picture = io.BytesIO()
Image.new("RGB", (320, 240), (200, 150, 120)).save(picture, "JPEG")
end, answers = time.monotonic() + 20, []
def call():
    newest = "00000000T000000Z-00000000"
    while time.monotonic() < end or len(answers) <= 20:
        headers = {"Content-Type": "image/jpeg", "X-Min-Model-Version": newest}
        request = urllib.request.Request(
            "http://balance:8080/predict", picture.getvalue(), headers
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                newest = response.headers["X-Model-Version"]
                answers.append(response.status)
        except OSError as error:
            answers.append(repr(error))
threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(answers) > 20 and set(answers) == {200}, answers
print(len(answers), "answers through the balancer")
PY
load=$!
sleep 5
docker kill "$("$COMPOSE_CMD" ps -q replica | head -1)"
wait $load
echo probe passed
"""
)


def test_compose_trains_serves_and_survives_a_killed_replica() -> None:
    check = os.environ.get("CONTAINER_CHECK")
    if not check:
        pytest.skip("no CONTAINER_CHECK: a script that builds and runs a Compose file")
    environment = {
        **os.environ,
        "CC_BUILD_ARGS": "TORCH_INDEX=",
        "CC_TIMEOUT": "900",
        "COMPOSE_PROFILES": "scale",
    }
    done = subprocess.run(
        ["bash", check, "--compose", "docker-compose.yml", "--probe", PROBE],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "probe passed" in done.stdout + done.stderr


def test_containers_are_confined() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert set(services) == {"sample", "train", "serve", "studio", "replica", "balance"}
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "user", "devices", "pid", "ipc"} & set(service), name
    serve = services["serve"]
    assert serve["volumes"] == ["store:/store:ro"]
    assert serve["ports"] == ["127.0.0.1:${FACEMASK_PORT:-8000}:8000"]
    assert serve["pids_limit"] == 128
    assert serve["mem_limit"] == "2816m"
    assert {services[job]["network_mode"] for job in ("sample", "train")} == {"none"}
    for side in ("train", "serve"):
        lines = (ROOT / f"Dockerfile.{side}").read_text().splitlines()
        assert [line for line in lines if line.startswith("USER ")] == ["USER 10001"]


@pytest.mark.parametrize(
    ("image", "sides"),
    [
        ("train", ["training", "service", "studio", "scoring"]),
        ("serve", ["service", "scoring"]),
    ],
)
def test_image_copies_only_its_sides_models_and_pages(image: str, sides: list[str]) -> None:
    """The studio runs on the image of training, and starts services to try models."""
    lines = (ROOT / f"Dockerfile.{image}").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith(("COPY ", "ADD "))]
    files = ["pyproject.toml", "constraints.txt", "ops/image.py"]
    assert copied[0] == files
    assert {each for line in copied[1:] for each in line} == {"models", "web", *sides}
    context = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{each}" for line in copied for each in line} <= set(context)
