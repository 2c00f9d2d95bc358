"""Export of backbone and head as one TorchScript graph, checked against the eager network."""

import io
import re
import warnings
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.bundle.load import answer, load_graph
from training.backbones.pooling import activation_map, pyramid_pool, row_weights
from training.backbones.registry import LoadedBackbone
from training.errors import TrainingError
from training.evaluation.head import Head
from training.evaluation.ood import OodDetector

# Max difference of an answer, relative to the largest. Freezing folds constants and batch
# normalisation, which moves the last bits only; before int8, a last bit may be rounded to another
# of 128 to 256 steps.
_MAX_DIFFERENCE: Final = {"fp32": 1e-4, "int8": 2e-2}


class ExportMismatch(TrainingError):
    """The exported graph does not answer as the eager network."""

    code = "export_mismatch"


class Classifier(nn.Module):
    """uint8 (N, 3, S, S) -> probabilities (N, K), class-activation map (N, K, h, w), distance (N,).

    The distance is there with an out-of-distribution detector only. The map is the head applied to
    the feature map before pooling (Zhou et al. 2016), so that its spatial mean is the logit: it
    costs nothing that the answer does not need anyway.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    rows: Tensor
    references: Tensor | None
    scales: Tensor | None

    def __init__(
        self,
        backbone: LoadedBackbone,
        head: Head,
        *,
        temperature: float = 1.0,
        ood_detector: OodDetector | None = None,
    ) -> None:
        """Join a backbone and a head.

        Args:
            backbone: In fp32 or quantised.
            head: For its pooled features.
            temperature: Divides the logits.
            ood_detector: Makes the graph measure the distance from its references.
        """
        super().__init__()
        self.network = backbone.network
        self.register_buffer("mean", torch.tensor(backbone.spec.mean_rgb).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.spec.std_rgb).view(1, 3, 1, 1))
        weight = torch.from_numpy(head.weight / temperature).to(torch.float32)
        self.register_buffer("weight", weight)  # (K, F)
        self.register_buffer("bias", torch.from_numpy(head.bias / temperature).to(torch.float32))
        size = backbone.spec.input_px
        with torch.inference_mode():
            blank: Tensor = self.network(torch.zeros(1, 3, size, size))
        self.register_buffer("rows", row_weights(blank.shape[2]))  # (3, h)
        references = torch.from_numpy(ood_detector.references) if ood_detector else None
        scales = torch.from_numpy(ood_detector.scales) if ood_detector else None
        self.register_buffer("references", references)  # (R, F)
        self.register_buffer("scales", scales)  # (R,)
        self.neighbours = ood_detector.facts.neighbours if ood_detector else 0

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        scaled = (pixels.to(torch.float32) - self.mean) / self.std
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        features = self.network(scaled)  # (N, D, h, w)
        activation = activation_map(features, self.weight, self.rows) + self.bias[:, None, None]
        probabilities = activation.mean((2, 3)).softmax(1)
        if self.references is None or self.scales is None:
            return probabilities, activation
        similarity = functional.normalize(pyramid_pool(features)) @ self.references.T  # (N, R)
        distances = (1 - similarity) * self.scales
        nearest = distances.topk(self.neighbours, largest=False).values
        return probabilities, activation, nearest[:, -1]


def export(
    classifier: Classifier, *, input_px: int, precision: Literal["fp32", "int8"] = "fp32"
) -> bytes:
    """Trace, freeze and serialise a classifier.

    Args:
        classifier: The eager network.
        input_px: Edge S.
        precision: Number format of the backbone; bounds the difference from the eager network.

    Returns:
        The bytes of a TorchScript file.

    Raises:
        ExportMismatch: The loaded file does not answer as the eager network.
    """
    random = torch.Generator().manual_seed(0)
    example = torch.randint(0, 256, (3, 3, input_px, input_px), generator=random).to(torch.uint8)
    classifier = classifier.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and the product's format
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            classifier, example[:2], check_trace=False
        )
        frozen = torch.jit.freeze(traced)
        buffer = io.BytesIO()
        torch.jit.save(frozen, buffer)
    data = _without_trace_numbers(buffer.getvalue())
    graph = load_graph(data)
    for pixels in (example[:1], example):
        with torch.inference_mode():
            expected = classifier(pixels)
        outputs = [output for output in answer(graph, pixels) if output is not None]
        for eager, exported in zip(expected, outputs, strict=True):
            difference = float((eager - exported).abs().max() / (eager.abs().max() + 1.0))
            if not difference <= _MAX_DIFFERENCE[precision]:
                raise ExportMismatch(
                    f"The TorchScript file's answers are off by {difference:.2g}: this is a bug, "
                    "or PyTorch's; nothing was published."
                )
    return data


def _without_trace_numbers(data: bytes) -> bytes:
    """Rewrite the file without what depends on earlier traces of this process.

    PyTorch numbers the classes that it traces, and the number is in the file. The records left out
    only map code to lines and paths of this machine.
    """
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    rewritten = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(rewritten)
    for name in reader.get_all_records():
        if name.endswith(".debug_pkl") or name in ("version", ".data/serialization_id"):
            continue  # the writer adds the latter two
        content = reader.get_record(name)
        if name.startswith("code/") or name.endswith(".pkl"):
            content = re.sub(rb"___torch_mangle_\d+", b"traced", content)
        new_name = re.sub(r"___torch_mangle_\d+", "traced", name)
        writer.write_record(new_name, content, len(content))
    writer.write_end_of_file()
    return rewritten.getvalue()
