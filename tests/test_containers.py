"""The Compose project, really built and run: job to its end, then an answered POST."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Posts the same picture twice from inside the service's container, and tries what must fail.
PROBE = r"""
set -eu
serve() { "$COMPOSE_CMD" exec -T serve "$@"; }
serve python - <<'PY'
import io, json, os, urllib.request
from PIL import Image
picture = io.BytesIO()
Image.new("RGB", (640, 480), (200, 150, 120)).save(picture, "JPEG")
part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
body = part + picture.getvalue() + b"\r\n" + part + picture.getvalue() + b"\r\n--x--\r\n"
request = urllib.request.Request(
    "http://127.0.0.1:8000/predict", body, {"Content-Type": "multipart/form-data; boundary=x"}
)
answer = json.load(urllib.request.urlopen(request, timeout=20))
assert [item["index"] for item in answer["predictions"]] == [0, 1], answer
assert answer["model"]["labels"] == ["mask", "no_mask"], answer
assert os.getuid() == 10001
for path in ("/store/x", "/app/x"):
    try:
        open(path, "w")
    except OSError:
        continue
    raise SystemExit(f"{path} is writable")
try:
    import torchvision
except ImportError:
    print("probe passed")
else:
    raise SystemExit("torchvision is in the serving image")
PY
"""


def test_compose_trains_then_serves() -> None:
    check = os.environ.get("CONTAINER_CHECK")
    if not check:
        pytest.skip("no CONTAINER_CHECK: a script that builds and runs a Compose file")
    environment = {**os.environ, "CC_BUILD_ARGS": "TORCH_INDEX=", "CC_TIMEOUT": "240"}
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


def test_images_copy_only_their_own_side() -> None:
    train = (ROOT / "Dockerfile.train").read_text()
    serve = (ROOT / "Dockerfile.serve").read_text()
    assert "COPY service" not in train
    assert "COPY training" not in serve
