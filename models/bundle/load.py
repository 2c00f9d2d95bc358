"""Loading of a bundle: signature, manifest, checksums, TorchScript, golden pictures.

The graph in `model.pt` takes uint8 (N, 3, S, S) pixels from `decode_image`, and returns
probabilities, float32 (N, K), and a class-activation map, float32 (N, K, h, w), whose spatial mean
is the logit. Everything between the two is inside: scaling, mean and standard deviation, backbone,
head, temperature, softmax.
"""

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from models.bundle import signing
from models.bundle.device import (
    CPU,
    HALF_TOLERANCE,
    DeviceName,
    Outputs,
    answer_on_cuda,
    choose_device,
)
from models.bundle.files import MANIFEST, MODEL, parse_manifest, read_files, read_small
from models.bundle.manifest import Manifest
from models.bundle.out_of_fold import OUT_OF_FOLD, TEST_ANSWERS
from models.errors import (
    BundleIncomplete,
    DetectorUnavailable,
    EngineUnavailable,
    FacemaskError,
    GoldenMismatch,
    SchemaUnsupported,
)
from models.imaging.decode import DECODER, decode_image
from models.imaging.face_detector import load_detector
from models.imaging.faces import CROPPER
from models.imaging.framing import FRAMER, Framing
from models.text import clean

log = logging.getLogger("facemask")

_EARLIER_DECODERS: Final = {
    "pillow-draft-squash-bilinear-1": "pictures with colour profiles or unusual formats differ a "
    "little, all others in no bit"
}
"""Earlier decoders whose bundles are still opened, with the difference to the current one."""


@dataclass(frozen=True)
class Bundle:
    """A verified and loaded bundle.

    Attributes:
        manifest: The bundle's manifest.
        model: The graph: uint8 (N, 3, S, S) -> probabilities (N, K), activation map (N, K, h, w).
        path: The bundle's folder.
        documents: Verified content of the other files by name: report, summary, model card; not of
            `out_of_fold.csv`.
        device: Device that the model is loaded to.
        framing: When and how a picture's main face is framed; None if pictures stay whole.
    """

    manifest: Manifest
    model: torch.jit.ScriptModule
    path: Path
    documents: Mapping[str, bytes]
    device: torch.device = CPU
    framing: Framing | None = None

    def answer(self, pixels: Tensor) -> Outputs:
        """Run the model on uint8 (N, 3, S, S) on the CPU; return its outputs on the CPU."""
        return answer(self.model, pixels, self.device)


def open_bundle(
    path: Path, *, trusted: Sequence[signing.PublicKey] = (), device: DeviceName = "cpu"
) -> Bundle:
    """Verify and load a bundle: signature, schema, checksums, then its golden pictures.

    The bytes that were verified are the bytes that are loaded. TorchScript is code: open
    bundles only from a store that strangers cannot write to, or with `trusted` keys.

    Args:
        path: The bundle's folder.
        trusted: Keys of which one must have signed the manifest, checked before anything else
            is read; without any, signatures are not checked.
        device: Device to run the model on; CUDA runs it in half precision.

    Raises:
        BundleUntrusted: None of the trusted keys has signed the bundle.
        BundleIncomplete: A file is missing, or has changed since publication.
        BundleUnreadable: A file cannot be read now.
        MemoryError: There is not enough memory.
        SchemaUnsupported: The manifest breaks its schema, or names another decoder or cropper.
        DetectorUnavailable: The model needs the face detector, which cannot run here.
        EngineUnavailable: The model's int8 arithmetic or the device is not available here.
        GoldenMismatch: The model's answers to its golden pictures differ from the recorded ones.
    """
    text = read_small(path / MANIFEST)
    if trusted:
        signing.check_signature(path, text, trusted)
    manifest = parse_manifest(path, text)
    _check_decoder(path, manifest.decoder)
    if manifest.crop.cropper:
        _require_cropper(manifest.crop.cropper)
    if manifest.precision.engine:
        _use_engine(manifest.precision.engine)
    target = choose_device(device, manifest)
    contents = read_files(path, manifest)
    for name in (OUT_OF_FOLD, TEST_ANSWERS):  # verified; may be large, and not needed to serve
        contents.pop(name, None)
    graph = load_graph(contents.pop(MODEL), target)
    bundle = Bundle(manifest, graph, path, contents, target, _framing_of(manifest))
    _check_golden(bundle)
    return bundle


def load_graph(data: bytes, device: torch.device = CPU) -> torch.jit.ScriptModule:
    """Load TorchScript from memory to a device, without PyTorch's deprecation warning.

    Raises:
        BundleIncomplete: This PyTorch cannot load the bytes as TorchScript.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and the product's format
        try:
            graph: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
                io.BytesIO(data), map_location=device
            )
        except RuntimeError as error:
            _raise_if_out_of_memory(error)
            reason = clean((str(error).strip().splitlines() or [""])[0])
            raise BundleIncomplete(f"PyTorch cannot load {MODEL} ({reason}).") from error
    return graph.eval()


def answer(model: torch.jit.ScriptModule, pixels: Tensor, device: torch.device = CPU) -> Outputs:
    """Run the graph once.

    Args:
        model: A bundle's graph.
        pixels: uint8 (N, 3, S, S), on the CPU.
        device: Device that the model is loaded to.

    Returns:
        The outputs, on the CPU.
    """
    with torch.inference_mode():
        if device != CPU:
            return answer_on_cuda(model, pixels, device)
        return Outputs(*model(pixels))


def _check_decoder(path: Path, name: str) -> None:
    """Raise if this version decodes pictures differently from training; log small differences."""
    sentence = (
        f"{path} was trained on pictures decoded by {name!r}; this version decodes by {DECODER!r}"
    )
    if name not in (DECODER, *_EARLIER_DECODERS):
        raise SchemaUnsupported(f"{sentence}.")
    if name != DECODER:
        log.warning("%s: %s", clean(sentence), _EARLIER_DECODERS[name])


def _require_cropper(name: str) -> None:
    """Raise unless this version cuts faces by the named method and the detector can run here."""
    if name != CROPPER:
        raise SchemaUnsupported(
            f"The model was trained on faces cut out by {name!r}; this version cuts by {CROPPER!r}."
        )
    load_detector()


def _framing_of(manifest: Manifest) -> Framing | None:
    """Return when and how pictures are framed; None, with a log line, if this machine cannot."""
    facts = manifest.framing
    if facts is None:
        return None
    sentence = (
        "The model was trained on pictures of one face each. Here each picture is answered whole, "
        "and a photograph with a small face mostly 'unfamiliar'"
    )
    if facts.framer != FRAMER:
        log.warning(
            "%s: it was trained to frame faces by %s, and this version frames by %s",
            *(sentence, clean(facts.framer), FRAMER),
        )
        return None
    try:
        load_detector()
    except DetectorUnavailable as error:
        log.warning("%s: %s", sentence, error)
        return None
    return Framing(facts.margins, beyond=facts.beyond, below=manifest.decision.threshold)


def _use_engine(name: str) -> None:
    """Set PyTorch's quantized engine for this process; int8 models need it to load and to run."""
    available = torch.backends.quantized.supported_engines
    if name not in available:
        raise EngineUnavailable(
            f"The model computes in int8 by PyTorch's engine {name!r}, and this machine has "
            f"{', '.join(available) or 'none'}: train again with --precision fp32."
        )
    torch.backends.quantized.engine = name
    with warnings.catch_warnings():
        # PyTorch warns once per process of quantized types, which have no successor yet.
        warnings.simplefilter("ignore")
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)


def _raise_if_out_of_memory(error: Exception) -> None:
    """Raise `MemoryError` if PyTorch ran out of memory: the cause is not in the bundle."""
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        raise MemoryError(str(error)) from error


def _check_golden(bundle: Bundle) -> None:
    """Decode the golden pictures and run the model on all of them, then on the first alone.

    Raises:
        GoldenMismatch: An answer differs from the recorded one by more than the manifest's
            tolerance or, on CUDA, by more than half precision may.
    """
    manifest = bundle.manifest
    try:
        pixels = torch.stack(
            [
                decode_image(golden.picture, size=manifest.input_px)
                for golden in manifest.golden.pictures
            ]
        )
        answers = [bundle.answer(pixels), bundle.answer(pixels[:1])]
    except (FacemaskError, RuntimeError, TypeError) as error:  # TypeError: not 2 or 3 outputs
        _raise_if_out_of_memory(error)
        raise GoldenMismatch(f"{bundle.path}: a golden picture fails ({error}).") from error
    tolerance = manifest.golden.tolerance
    if bundle.device != CPU:
        tolerance = max(tolerance, HALF_TOLERANCE)
    for outputs in answers:
        mismatch = _mismatch(manifest, outputs, tolerance)
        if mismatch:
            raise GoldenMismatch(f"{bundle.path}: {mismatch}")


def _mismatch(manifest: Manifest, outputs: Outputs, tolerance: float) -> str | None:
    """Return a sentence on how outputs differ from the golden answers, None within tolerance."""
    probabilities, activation, distance = outputs
    if (distance is None) != (manifest.familiarity is None):
        return (
            "the manifest and the model disagree on whether the model measures how familiar a "
            "picture is."
        )
    golden, num_answers = manifest.golden.pictures, len(probabilities)
    expected = torch.tensor([picture.probabilities for picture in golden])[:num_answers]
    if (
        probabilities.shape != expected.shape
        or activation.shape[:2] != expected.shape
        or activation.ndim != 4
    ):
        return (
            f"{len(manifest.labels)} classes are announced, and the model answers "
            f"{tuple(probabilities.shape)} and {tuple(activation.shape)}."
        )
    means = torch.tensor([picture.activation_means for picture in golden])
    scale = float(means.abs().max()) + 1.0
    off = float((probabilities - expected).abs().max())
    off_map = float((activation.mean((2, 3)) - means[:num_answers]).abs().max()) / scale
    if not (off <= tolerance and off_map <= tolerance):  # not `>`: a NaN must fail, too
        return (
            f"a golden answer is off by {off:.2g} (map: {off_map:.2g}), and {tolerance:g} is "
            "allowed."
        )
    if distance is not None:
        known = torch.tensor([picture.distance for picture in golden])[:num_answers]
        off = float((distance - known).abs().max()) if distance.shape == known.shape else nan
        if not off <= tolerance:
            return f"a golden picture's distance is off by {off:.2g}, and {tolerance:g} is allowed."
    return None
