"""The second pass over a batch without a service: main faces of pictures whose whole is doubtful.

The service has a queue for it (`service.inference.engine`); evaluation and comparison of models
answer a batch at a time. Both follow `models.imaging.framing`.
"""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor

from models.bundle.device import Outputs
from models.errors import PictureError
from models.imaging.face_detector import load_detector
from models.imaging.faces import open_oriented
from models.imaging.framing import Framing


def answer_framed(
    answer: Callable[[Tensor], Outputs],
    pixels: Tensor,
    read: Callable[[int], bytes],
    framing: Framing | None,
) -> tuple[Tensor, Tensor | None]:
    """Answer whole pictures, and doubtful ones by their main face if it is nearer.

    Args:
        answer: Runs the model on uint8 (N, 3, S, S), always of the same N.
        pixels: The whole pictures, and any padding.
        read: Returns the encoded file of the i-th picture; raises OSError for padding.
        framing: When and how a picture's main face is framed; None if pictures stay whole.

    Returns:
        Probabilities, float32 (N, K), and distances, float32 (N,), if the model measures them.
    """
    outputs = answer(pixels)
    probabilities, distances = outputs.probabilities.clone(), outputs.distance
    if framing is None or distances is None:
        return probabilities, distances
    distances = distances.clone()
    crops = torch.zeros_like(pixels)
    framed: list[int] = []
    scores = probabilities.max(dim=1).values.tolist()
    for index, (score, distance) in enumerate(zip(scores, distances.tolist(), strict=True)):
        if not framing.is_doubtful(score, distance):
            continue
        with contextlib.suppress(PictureError, OSError):  # as in the service, the whole counts
            picture = open_oriented(read(index))
            found = framing.find(picture, load_detector())
            if found is not None:
                crops[len(framed)] = picture.cut(found.box, pixels.shape[-1])
                framed.append(index)
    if framed:
        seconds = answer(crops)
        assert seconds.distance is not None
        for row, index in enumerate(framed):
            if seconds.distance[row] < distances[index]:
                probabilities[index] = seconds.probabilities[row]
                distances[index] = seconds.distance[row]
    return probabilities, distances
