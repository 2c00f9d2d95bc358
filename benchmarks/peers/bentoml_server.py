"""BentoML as its documentation shows a service with adaptive batching.

Pillow images as the input type, `batchable=True`, batches of 8, several processes by `workers`; the
rest are BentoML's defaults.
"""

import os

import bentoml
import torch
from PIL.Image import Image

from benchmarks.peers.model import label, load_model, preprocess


@bentoml.service(workers=int(os.environ["PEER_WORKERS"]), traffic={"timeout": 60})
class Classifier:
    def __init__(self) -> None:
        self.model = load_model()

    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=True, max_batch_size=8, route="/predict"
    )
    def predict(self, images: list[Image]) -> list[dict[str, object]]:
        pixels = torch.stack([preprocess(image) for image in images])
        with torch.inference_mode():
            probabilities = self.model(pixels)
        return [label(row) for row in probabilities]
