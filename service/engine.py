"""One loaded bundle and the worker that runs it: uint8 pixels in, probabilities out."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.bundle import REPORT, Bundle, answer
from service.batcher import Batcher

# TorchScript compiles in its first calls of a shape; the third is as fast as it gets.
_WARM_UP_CALLS = 3


class Engine:
    """Answers pictures with one model until it is closed."""

    def __init__(self, bundle: Bundle, *, threads: int, max_batch: int) -> None:
        """Warm the model up and start its worker.

        Args:
            bundle: Verified and loaded.
            threads: Of one forward pass.
            max_batch: Most pictures a forward pass.
        """
        self.manifest = bundle.manifest
        self.report = bundle.documents.get(REPORT)
        self.labels = tuple(bundle.manifest.labels)
        self._graph = bundle.model
        self._max_batch = max_batch
        self._batcher: Batcher[Tensor, list[float]] = Batcher(
            self._forward,
            max_batch=max_batch,
            begin=lambda: self._begin(threads),
            name=f"engine-{bundle.manifest.version}",
        )

    async def predict(self, pictures: Sequence[Tensor]) -> list[list[float]]:
        """Probabilities of each class for each picture.

        Args:
            pictures: uint8 (3, S, S) each, as `decode_image` gives them.

        Raises:
            BatchFailed: The model raised.
            BatcherClosed: The engine has been closed.
        """
        return await self._batcher.submit(pictures)

    def alive(self) -> bool:
        """Whether the worker is running."""
        return self._batcher.alive()

    def close(self) -> None:
        """End the worker; what is still waiting is answered with an error."""
        self._batcher.close()

    def _begin(self, threads: int) -> None:
        """Warm up where the work will be done, so that the first caller waits no longer."""
        torch.set_num_threads(threads)  # counts for the thread that calls it
        size = self.manifest.input_px
        for count in sorted({1, 2, self._max_batch}):
            pixels = torch.zeros((count, 3, size, size), dtype=torch.uint8)
            for _ in range(_WARM_UP_CALLS):
                answer(self._graph, pixels)

    def _forward(self, pictures: list[Tensor]) -> list[list[float]]:
        probabilities, _ = answer(self._graph, torch.stack(pictures))  # (N, K)
        answers: list[list[float]] = probabilities.tolist()
        return answers
