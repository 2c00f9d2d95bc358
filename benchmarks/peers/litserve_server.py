"""LitServe as its documentation shows an image classifier with batching.

Decoding in `decode_request`, batches of 8 within 10 ms, several workers by
`workers_per_device`.
"""

import os

import litserve as ls
import torch
from fastapi import UploadFile
from PIL import Image

from benchmarks.peers.model import label, load_model, preprocess


class Classifier(ls.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:
        self.model = load_model()

    def decode_request(self, request: UploadFile) -> torch.Tensor:
        return preprocess(Image.open(request.file))

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(inputs)

    def predict(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            probabilities: torch.Tensor = self.model(pixels)
        return probabilities

    def unbatch(self, output: torch.Tensor) -> list[torch.Tensor]:
        return list(output)

    def encode_response(self, output: torch.Tensor) -> dict[str, object]:
        return label(output)


if __name__ == "__main__":
    server = ls.LitServer(
        Classifier(max_batch_size=8, batch_timeout=0.01),
        accelerator="cpu",
        workers_per_device=int(os.environ["PEER_WORKERS"]),
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PEER_PORT"]),
        log_level="warning",
        generate_client_file=False,
    )
