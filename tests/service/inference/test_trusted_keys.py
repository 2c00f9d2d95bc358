"""`FACEMASK_TRUSTED_KEYS`: the service opens signed bundles only."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.bundle.files import MODEL
from models.bundle.publish import publish
from models.bundle.signing import to_base64
from tests.models.tiny_bundle import bundle_facts
from tests.service.fixtures import serving, settings_of, wait


def test_service_with_trusted_keys_serves_signed_bundles_only(
    tmp_path: Path, tiny_model: bytes
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    facts = bundle_facts(tiny_model)
    publish(tmp_path, {MODEL: tiny_model}, facts)
    settings = settings_of(tmp_path, trusted_keys=to_base64(key.public_key()), poll_s=3600)

    async def scene() -> None:
        async with serving(settings) as (client, state):
            await state.model_manager.poll_once()
            health = await client.get("/health")
            assert health.status_code == 503
            assert "is not signed" in health.json()["refused"]["reason"]
            signed = publish(tmp_path, {MODEL: tiny_model}, facts, key=key).manifest.version
            await state.model_manager.poll_once()
            health = await client.get("/health")
            assert health.json()["model"]["version"] == signed

    wait(scene())
