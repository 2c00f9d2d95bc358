"""ops/nginx.conf, with other names and ports, in front of a running service."""

import datetime
import shutil
import signal
import ssl
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.serving.processes import free_port
from service.keys import hash_of
from tests import ROOT, WAIT_S
from tests.process.test_serving_process import Service, becomes
from tests.service.fixtures import files_of, publish_bundle

CONF = ROOT / "ops" / "nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def certify(folder: Path) -> Path:
    """Write a self-signed certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "cert.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem"


def test_nginx_example_serves_tls_and_hides_probes(tmp_path: Path) -> None:
    publish_bundle(tmp_path / "store")
    service = Service(tmp_path / "store", FACEMASK_API_KEYS=hash_of("key-one"))
    certificate, port = certify(tmp_path), free_port()
    server = CONF.read_text()
    for given, wanted in {
        "127.0.0.1:8000": f"127.0.0.1:{service.port}",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "facemask.example.org": "localhost",
        "/etc/ssl/facemask.pem": str(certificate),
        "/etc/ssl/facemask.key": str(tmp_path / "cert.key"),
    }.items():
        assert given in server
        server = server.replace(given, wanted)
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/errors;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{server}}}\n"
    )
    nginx = subprocess.Popen([str(NGINX), "-c", str(tmp_path / "nginx.conf")])
    try:
        with httpx.Client(base_url=service.address, timeout=WAIT_S) as inside:
            becomes(inside, 200)
        trusting = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(
            base_url=f"https://localhost:{port}", verify=trusting, timeout=WAIT_S
        ) as outside:
            end = time.monotonic() + WAIT_S
            while True:
                try:
                    assert outside.get("/health").status_code == 200
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < end, (tmp_path / "errors").read_text()
                    threading.Event().wait(0.05)
            assert outside.post("/predict", files=files_of(5)).status_code == 401
            answer = outside.post("/predict", files=files_of(5), headers={"x-api-key": "key-one"})
            assert answer.status_code == 200
            assert answer.headers["x-request-id"] == answer.json()["request_id"]
            for path in ("/metrics", "/livez", "/readyz"):
                assert outside.get(path).status_code == 404
    finally:
        nginx.send_signal(signal.SIGTERM)
        nginx.wait(WAIT_S)
        service.stop()
