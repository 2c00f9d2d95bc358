"""A bundle is a folder with a model and its manifest; a store is a folder of bundles.

    STORE/CURRENT                           the version to serve, one line
    STORE/20261122T204207Z-1f0c9a77/        a bundle: its name is its version
        manifest.json                       what it is (models.manifest)
        model.pt                            TorchScript
        report.html, summary.json, ...      what the job has to say of it

The graph in `model.pt` takes uint8 (N, 3, S, S) pixels as `decode_image` gives them, and
answers probabilities, float32 (N, K), and a class-activation map, float32 (N, K, h, w),
whose spatial mean is the logit. Everything between the two is inside: scaling, mean and
standard deviation, backbone, head, temperature, softmax.

A bundle appears in one step (a rename) and becomes current in another (a replaced file), so
that neither a reader nor a kill at any moment can meet half of one.
"""

import dataclasses
import fcntl
import hashlib
import io
import re
import secrets
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import ValidationError
from torch import Tensor

from models import durable
from models.errors import (
    BundleError,
    BundleIncomplete,
    EngineUnavailable,
    FacemaskError,
    GoldenMismatch,
    NoBundle,
    SchemaUnsupported,
)
from models.image import DECODER, decode_image
from models.manifest import VERSION_PATTERN, FileFacts, Manifest

CURRENT: Final = "CURRENT"
MANIFEST: Final = "manifest.json"
MODEL: Final = "model.pt"
REPORT: Final = "report.html"
_LOCK: Final = ".lock"
_PARTIAL: Final = ".publishing-"
_VERSION_TIME: Final = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been verified and loaded.

    Attributes:
        manifest: What it says of itself.
        model: The graph: uint8 (N, 3, S, S) -> probabilities (N, K), activation map (N, K, h, w).
        path: Its folder.
        documents: Content, as verified, of its other files: report, summary, model card.
    """

    manifest: Manifest
    model: torch.jit.ScriptModule
    path: Path
    documents: Mapping[str, bytes]


def current_version(store: Path) -> str:
    """The version that the store says to serve.

    Raises:
        NoBundle: The store does not exist or names none.
    """
    try:
        version = (store / CURRENT).read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise NoBundle(f"{store} holds no model yet: run `python -m training fit`.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise NoBundle(f"{store / CURRENT} cannot be read ({error}).") from error
    # A crash of the machine can leave a file of zero bytes, which are no name either.
    named = version.isprintable() and Path(version).name == version
    if not version or not named or version.startswith("."):
        raise NoBundle(f"{store / CURRENT} does not name a version.")
    return version


def versions(store: Path) -> list[str]:
    """The versions in a store, oldest first."""
    if not store.is_dir():
        return []
    names = (path.parent.name for path in store.glob(f"[!.]*/{MANIFEST}"))
    return sorted(name for name in names if re.fullmatch(VERSION_PATTERN, name))


def read_manifest(path: Path) -> Manifest:
    """Read and check a bundle's manifest.

    Raises:
        BundleIncomplete: There is none, or it cannot be read.
        SchemaUnsupported: It is of another schema version, or breaks its schema.
    """
    try:
        text = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleIncomplete(f"{path / MANIFEST} cannot be read ({error.strerror}).") from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]) or "the file"
        raise SchemaUnsupported(f"{path / MANIFEST}: {where}: {first['msg']}.") from error
    if manifest.version != path.name and not path.name.startswith(_PARTIAL):
        raise BundleIncomplete(f"{path} holds the bundle {manifest.version}.")
    return manifest


def open_bundle(path: Path) -> Bundle:
    """Verify and load a bundle: schema, checksums, then its golden pictures.

    The bytes whose checksum was verified are the bytes that are loaded. TorchScript is code:
    open bundles only from a store that strangers cannot write to.

    Args:
        path: The bundle's folder.

    Raises:
        BundleIncomplete: A file is missing, or is not the one that was published.
        SchemaUnsupported: The manifest breaks its schema, or pictures would be decoded otherwise.
        EngineUnavailable: The model is in int8, and this machine cannot run that.
        GoldenMismatch: The model does not answer its golden pictures as it did when trained.
    """
    manifest = read_manifest(path)
    if manifest.decoder != DECODER:
        raise SchemaUnsupported(
            f"{path} was trained on pictures decoded by {manifest.decoder!r}; "
            f"this version decodes by {DECODER!r}."
        )
    if MODEL not in manifest.files:
        raise SchemaUnsupported(f"{path / MANIFEST} lists no {MODEL}.")
    if manifest.precision.engine:
        use_engine(manifest.precision.engine)
    contents = {name: _verified(path / name, facts) for name, facts in manifest.files.items()}
    graph = load_graph(contents.pop(MODEL))
    bundle = Bundle(manifest, graph, path, contents)
    check_golden(bundle)
    return bundle


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


def load_graph(data: bytes) -> torch.jit.ScriptModule:
    """Load TorchScript from memory, on the CPU, without PyTorch's deprecation warning.

    Raises:
        BundleIncomplete: The bytes are no TorchScript file that this PyTorch can load.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and the product's format
        try:
            graph: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(data), map_location="cpu"
            )
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise BundleIncomplete(f"PyTorch cannot load {MODEL} ({reason}).") from error
    return graph.eval()


def check_golden(bundle: Bundle) -> None:
    """Ask the model its golden pictures, through the decoder, one by one and as a batch.

    Raises:
        GoldenMismatch: An answer is not the recorded one, within the manifest's tolerance.
    """
    manifest = bundle.manifest
    try:
        pixels = torch.stack(
            [
                decode_image(golden.picture, size=manifest.input_px)
                for golden in manifest.golden.pictures
            ]
        )
        answers = [answer(bundle.model, pixels), answer(bundle.model, pixels[:1])]
    except (FacemaskError, RuntimeError, ValueError) as error:  # the last: not two answers
        raise GoldenMismatch(f"{bundle.path}: a golden picture fails ({error}).") from error
    wanted = torch.tensor([golden.probabilities for golden in manifest.golden.pictures])
    means = torch.tensor([golden.activation_means for golden in manifest.golden.pictures])
    for probabilities, activation in answers:
        count, tolerance = len(probabilities), manifest.golden.tolerance
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


def answer(model: torch.jit.ScriptModule, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Run the graph once.

    Args:
        model: A bundle's graph.
        pixels: uint8 (N, 3, S, S), on the model's device.

    Returns:
        Probabilities, float32 (N, K), and class-activation map, float32 (N, K, h, w).
    """
    with torch.inference_mode():
        probabilities, activation = model(pixels)
    return probabilities, activation


def publish(store: Path, files: Mapping[str, bytes], facts: Mapping[str, Any]) -> Bundle:
    """Add a bundle to the store and make it the current one.

    Written beside its place, verified there as the service would, then renamed; the pointer
    follows last. A run that dies at any point leaves the store as it was, but for a hidden
    folder that the next run removes.

    Args:
        store: The store's folder, made if need be.
        files: Contents by plain file name; `model.pt` must be among them.
        facts: The manifest's fields, without version, created_at and files.

    Returns:
        The bundle as it was read back.

    Raises:
        OSError: The store cannot be written to, or the disk is full.
        BundleError: What was to be published does not verify; nothing was published.
    """
    store.mkdir(parents=True, exist_ok=True)
    with _lock(store):
        for stale in store.glob(f"{_PARTIAL}*"):
            shutil.rmtree(stale, ignore_errors=True)
        for stale in store.glob(f".{CURRENT}-*"):
            stale.unlink(missing_ok=True)
        listed = {
            name: FileFacts(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            for name, data in files.items()
        }
        created = _next_moment(store)
        version = f"{created.strftime(_VERSION_TIME)}-{listed[MODEL].sha256[:8]}"
        manifest = Manifest(version=version, created_at=created, files=listed, **facts)
        partial = store / f"{_PARTIAL}{secrets.token_hex(4)}"
        try:
            partial.mkdir()
            for name, data in files.items():
                durable.write(partial / name, data)
            durable.write(partial / MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
            durable.sync_folder(partial)
            bundle = open_bundle(partial)
            partial.rename(store / version)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        durable.sync_folder(store)
        point(store, version)
    return dataclasses.replace(bundle, path=store / version)


def point(store: Path, version: str) -> None:
    """Make a version of the store the current one, in one step.

    Raises:
        BundleError: The store has no such version.
        OSError: The store cannot be written to.
    """
    if not (store / version / MANIFEST).is_file():
        raise BundleError(f"{store} has no version {version}.")
    partial = store / f".{CURRENT}-{secrets.token_hex(4)}"
    try:
        durable.write(partial, f"{version}\n".encode())
        partial.replace(store / CURRENT)
    finally:
        partial.unlink(missing_ok=True)
    durable.sync_folder(store)


def _next_moment(store: Path) -> datetime:
    """Now, or the second after the newest version, so that versions sort even if clocks go back."""
    now = datetime.now(UTC).replace(microsecond=0)
    stamps = [name.split("-")[0] for name in versions(store)]
    if stamps:
        newest = datetime.strptime(stamps[-1], _VERSION_TIME).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(seconds=1))
    return now


def _verified(path: Path, facts: FileFacts) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleIncomplete(f"{path} cannot be read ({error.strerror}).") from error
    if len(data) != facts.bytes or hashlib.sha256(data).hexdigest() != facts.sha256:
        raise BundleIncomplete(f"{path} is not the file that was published: its checksum differs.")
    return data


@contextmanager
def _lock(store: Path) -> Iterator[None]:
    """Let one publisher at a time write to the store; readers need no lock."""
    with open(store / _LOCK, "a", encoding="ascii") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
