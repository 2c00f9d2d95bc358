"""A bundle is a folder with a model and its manifest; `models.bundle.store` has where it lies.

The graph in `model.pt` takes uint8 (N, 3, S, S) pixels as `decode_image` gives them, and
answers probabilities, float32 (N, K), and a class-activation map, float32 (N, K, h, w),
whose spatial mean is the logit. Everything between the two is inside: scaling, mean and
standard deviation, backbone, head, temperature, softmax.
"""

import dataclasses
import hashlib
import io
import secrets
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import nan
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from models.bundle import fsync, signing
from models.bundle.device import CPU, HALF_TOLERANCE, DeviceName, Outputs, choose_device, on_device
from models.bundle.manifest import FileFacts, Manifest
from models.bundle.store import (
    MANIFEST,
    MODEL,
    PARTIAL,
    lock,
    parse_manifest,
    point,
    read_files,
    read_small,
    sweep,
    versions,
)
from models.errors import (
    BundleIncomplete,
    EngineUnavailable,
    FacemaskError,
    GoldenMismatch,
    SchemaUnsupported,
)
from models.imaging.decode import DECODER, decode_image
from models.imaging.face_detector import load_detector
from models.imaging.faces import CROPPER

REPORT: Final = "report.html"
_VERSION_TIME: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been verified and loaded.

    Attributes:
        manifest: What it says of itself.
        model: The graph: uint8 (N, 3, S, S) -> probabilities (N, K), activation map (N, K, h, w).
        path: Its folder.
        documents: Content, as verified, of its other files: report, summary, model card.
        device: Where the model is.
    """

    manifest: Manifest
    model: torch.jit.ScriptModule
    path: Path
    documents: Mapping[str, bytes]
    device: torch.device = CPU

    def answer(self, pixels: Tensor) -> Outputs:
        """Answer uint8 (N, 3, S, S) on the CPU as `answer` does, wherever the model is."""
        return answer(self.model, pixels, self.device)


def open_bundle(
    path: Path, *, trusted: Sequence[signing.PublicKey] = (), device: DeviceName = "cpu"
) -> Bundle:
    """Verify and load a bundle: signature, schema, checksums, then its golden pictures.

    The bytes that were verified are the bytes that are loaded. TorchScript is code: open
    bundles only from a store that strangers cannot write to, or with `trusted` keys.

    Args:
        path: The bundle's folder.
        trusted: Where there are any, one of them must have signed the manifest; judged
            before anything else is read.
        device: Where to run the model; in half precision on CUDA.

    Raises:
        BundleUntrusted: None of the trusted keys has signed it.
        BundleIncomplete: A file is missing, or is not the one that was published.
        SchemaUnsupported: The manifest breaks its schema, or pictures would be decoded otherwise.
        DetectorUnavailable: It is given faces, and there is no detector here.
        EngineUnavailable: This machine cannot run the model in int8, or not on that device.
        GoldenMismatch: The model does not answer its golden pictures as it did when trained.
    """
    text = read_small(path / MANIFEST)
    if trusted:
        signing.check_signature(path, text, trusted)
    manifest = parse_manifest(path, text)
    if manifest.decoder != DECODER:
        raise SchemaUnsupported(
            f"{path} was trained on pictures decoded by {manifest.decoder!r}; "
            f"this version decodes by {DECODER!r}."
        )
    if manifest.crop.cropper:
        use_cropper(manifest.crop.cropper)
    if manifest.precision.engine:
        use_engine(manifest.precision.engine)
    place = choose_device(device, manifest)
    contents = read_files(path, manifest)
    graph = load_graph(contents.pop(MODEL), place)
    bundle = Bundle(manifest, graph, path, contents, place)
    check_golden(bundle)
    return bundle


def use_cropper(name: str) -> None:
    """Pass if faces can be cut out here as the name says.

    Raises:
        SchemaUnsupported: They would be cut out otherwise.
        DetectorUnavailable: There is no detector here.
    """
    if name != CROPPER:
        raise SchemaUnsupported(
            f"The model was trained on faces cut out by {name!r}; this version cuts by {CROPPER!r}."
        )
    load_detector()


def use_engine(name: str) -> None:
    """Let this process compute int8 by the engine named; loading and running both ask for it.

    Raises:
        EngineUnavailable: This CPU or this build of PyTorch lacks it.
    """
    available = torch.backends.quantized.supported_engines
    if name not in available:
        raise EngineUnavailable(
            f"The model computes in int8 by PyTorch's engine {name!r}, and this machine has "
            f"{', '.join(available) or 'none'}: train again with --precision fp32."
        )
    torch.backends.quantized.engine = name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said once a process, of types that have no successor yet
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)


def load_graph(data: bytes, device: torch.device = CPU) -> torch.jit.ScriptModule:
    """Load TorchScript from memory to a device, without PyTorch's deprecation warning.

    Raises:
        BundleIncomplete: The bytes are no TorchScript file that this PyTorch can load.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and the product's format
        try:
            graph: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(data), map_location=device
            )
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise BundleIncomplete(f"PyTorch cannot load {MODEL} ({reason}).") from error
    return graph.eval()


def check_golden(bundle: Bundle) -> None:
    """Ask the model its golden pictures, through the decoder, one by one and as a batch.

    Raises:
        GoldenMismatch: An answer is not the recorded one, within the manifest's tolerance or,
            if that is larger, what half precision may change.
    """
    manifest = bundle.manifest
    tolerance = manifest.golden.tolerance
    if bundle.device != CPU:
        tolerance = max(tolerance, HALF_TOLERANCE)
    try:
        pixels = torch.stack(
            [
                decode_image(golden.picture, size=manifest.input_px)
                for golden in manifest.golden.pictures
            ]
        )
        answers = [bundle.answer(pixels), bundle.answer(pixels[:1])]
    except (FacemaskError, RuntimeError, TypeError) as error:  # the last: not two or three
        raise GoldenMismatch(f"{bundle.path}: a golden picture fails ({error}).") from error
    wanted = torch.tensor([golden.probabilities for golden in manifest.golden.pictures])
    means = torch.tensor([golden.activation_means for golden in manifest.golden.pictures])
    for probabilities, activation, distance in answers:
        count = len(probabilities)
        if (distance is None) != (manifest.familiarity is None):
            raise GoldenMismatch(
                f"{bundle.path}: the manifest and the model disagree on whether the model measures "
                "how familiar a picture is."
            )
        if (
            probabilities.shape != wanted[:count].shape
            or activation.shape[:2] != wanted[:count].shape
            or activation.ndim != 4
        ):
            raise GoldenMismatch(
                f"{bundle.path}: {len(manifest.labels)} classes are announced, and the model "
                f"answers {tuple(probabilities.shape)} and {tuple(activation.shape)}."
            )
        # Not `> tolerance`: a NaN must fail, too.
        off = float((probabilities - wanted[:count]).abs().max())
        scale = float(means.abs().max()) + 1.0
        off_map = float((activation.mean((2, 3)) - means[:count]).abs().max()) / scale
        if not (off <= tolerance and off_map <= tolerance):
            raise GoldenMismatch(
                f"{bundle.path}: a golden answer is off by {off:.2g} (map: {off_map:.2g}), "
                f"and {tolerance:g} is allowed."
            )
        if distance is not None:
            known = torch.tensor([golden.distance for golden in manifest.golden.pictures[:count]])
            off = float((distance - known).abs().max()) if distance.shape == known.shape else nan
            if not off <= tolerance:
                raise GoldenMismatch(
                    f"{bundle.path}: a golden picture's distance is off by {off:.2g}, and "
                    f"{tolerance:g} is allowed."
                )


def answer(model: torch.jit.ScriptModule, pixels: Tensor, device: torch.device = CPU) -> Outputs:
    """Run the graph once.

    Args:
        model: A bundle's graph.
        pixels: uint8 (N, 3, S, S), on the CPU.
        device: Where the model is.

    Returns:
        The outputs, on the CPU.
    """
    with torch.inference_mode():
        if device != CPU:
            return on_device(model, pixels, device)
        return Outputs(*model(pixels))


def publish(
    store: Path,
    files: Mapping[str, bytes],
    facts: Mapping[str, Any],
    *,
    key: signing.PrivateKey | None = None,
) -> Bundle:
    """Add a bundle to the store and make it the current one.

    Written beside its place, verified there as the service would, then renamed; the pointer
    follows last. A run that dies at any point leaves the store as it was, but for a hidden
    folder that the next run removes.

    Args:
        store: The store's folder, made if need be.
        files: Contents by plain file name; `model.pt` must be among them.
        facts: The manifest's fields, without version, created_at and files.
        key: Signs the manifest.

    Returns:
        The bundle as it was read back.

    Raises:
        OSError: The store cannot be written to, or the disk is full.
        BundleError: What was to be published does not verify; nothing was published.
    """
    store.mkdir(parents=True, exist_ok=True)
    with lock(store):
        sweep(store)
        listed = {
            name: FileFacts(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in files.items()
        }
        created = _next_moment(store)
        version = f"{created.strftime(_VERSION_TIME)}-{listed[MODEL].sha256[:8]}"
        manifest = Manifest(version=version, created_at=created, files=listed, **facts)
        partial = store / f"{PARTIAL}{secrets.token_hex(4)}"
        try:
            partial.mkdir()
            for name, data in files.items():
                fsync.write(partial / name, data)
            text = manifest.model_dump_json(indent=2).encode() + b"\n"
            fsync.write(partial / MANIFEST, text)
            if key is not None:
                fsync.write(partial / signing.SIGNATURE, signing.sign(key, text))
            fsync.sync_folder(partial)
            bundle = open_bundle(partial, trusted=[key.public_key()] if key else ())
            partial.rename(store / version)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        fsync.sync_folder(store)
        point(store, version)
    return dataclasses.replace(bundle, path=store / version)


def _next_moment(store: Path) -> datetime:
    """Now, or the second after the newest version, so that versions sort even if clocks go back."""
    now = datetime.now(UTC).replace(microsecond=0)
    stamps = [name.split("-")[0] for name in versions(store)]
    if stamps:
        newest = datetime.strptime(stamps[-1], _VERSION_TIME).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(seconds=1))
    return now
