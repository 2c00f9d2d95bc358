"""Backbone and head as one TorchScript graph, compared with the eager network."""

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
from training.evaluation.ood import Familiarity

# Freezing folds constants and batch normalisation, which moves the last bits only; where int8
# follows, a last bit may be rounded to another of 128 to 256 steps.
_AGREEMENT: Final = {"fp32": 1e-4, "int8": 2e-2}


class ExportMismatch(TrainingError):
    """The exported graph does not answer as the network that it was made from."""


class Classifier(nn.Module):
    """uint8 (N, 3, S, S) -> probabilities (N, K), class-activation map (N, K, h, w), distance (N,).

    The map is the head applied to the feature map before pooling (Zhou et al. 2016), so that
    its spatial mean is the logit: it costs nothing that the answer does not need anyway.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    rows: Tensor
    references: Tensor | None

    def __init__(
        self,
        backbone: LoadedBackbone,
        head: Head,
        *,
        temperature: float = 1.0,
        familiarity: Familiarity | None = None,
    ) -> None:
        """Join a backbone and a head.

        Args:
            backbone: In the precision that is wanted.
            head: For its pooled features.
            temperature: Divides the logits.
            familiarity: Makes the graph measure the distance from these references.
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
        known = torch.from_numpy(familiarity.references) if familiarity else None
        self.register_buffer("references", known)  # (R, F)
        self.neighbours = familiarity.facts.neighbours if familiarity else 0

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        scaled = (pixels.to(torch.float32) - self.mean) / self.std
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        features = self.network(scaled)  # (N, D, h, w)
        seen = activation_map(features, self.weight, self.rows) + self.bias[:, None, None]
        probabilities = seen.mean((2, 3)).softmax(1)
        if self.references is None:
            return probabilities, seen
        likeness = functional.normalize(pyramid_pool(features)) @ self.references.T  # (N, R)
        return probabilities, seen, 1 - likeness.topk(self.neighbours).values[:, -1]


def export(
    classifier: Classifier, *, input_px: int, precision: Literal["fp32", "int8"] = "fp32"
) -> bytes:
    """Trace, freeze and serialise a classifier.

    Args:
        classifier: With its backbone in place, quantised or not.
        input_px: Edge S.
        precision: Of the backbone: how near the file must come to the eager network.

    Returns:
        The bytes of a TorchScript file.

    Raises:
        ExportMismatch: The file, loaded again, answers otherwise than the eager network.
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
    data = _unnumbered(buffer.getvalue())
    graph = load_graph(data)
    for pixels in (example[:1], example):
        with torch.inference_mode():
            wanted = classifier(pixels)
        given = [output for output in answer(graph, pixels) if output is not None]
        for eager, exported in zip(wanted, given, strict=True):
            off = float((eager - exported).abs().max() / (eager.abs().max() + 1.0))
            if not off <= _AGREEMENT[precision]:
                raise ExportMismatch(
                    f"The TorchScript file's answers are off by {off:.2g}: this is a bug, "
                    "or PyTorch's; nothing was published."
                )
    return data


def _unnumbered(data: bytes) -> bytes:
    """The same file, whatever else this process has traced before.

    PyTorch numbers the classes that it traces, and the number is in the file. What is left out
    only maps code to the lines and paths of this machine.
    """
    reader = torch._C.PyTorchFileReader(io.BytesIO(data))
    made = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(made)
    for name in reader.get_all_records():
        if name.endswith(".debug_pkl") or name in ("version", ".data/serialization_id"):
            continue  # the writer adds the latter two
        content = reader.get_record(name)
        if name.startswith("code/") or name.endswith(".pkl"):
            content = re.sub(rb"___torch_mangle_\d+", b"traced", content)
        plain = re.sub(r"___torch_mangle_\d+", "traced", name)
        writer.write_record(plain, content, len(content))
    writer.write_end_of_file()
    return made.getvalue()
