"""Shards on a Ray cluster: one actor per CPU, which loads the model once.

Ray only maps shards. The shards of a lost actor are scored again by another one, which is
harmless because of their names.
"""

from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.util import ActorPool

from scoring.plan import Shard
from scoring.run import open_run
from service.process.allocator import retain_memory


class _Worker:
    """Scores shards with one thread."""

    def __init__(self, options: Any, opener: Callable[..., Any]) -> None:
        retain_memory()
        self._run = opener(options, threads=1)
        self._model = self._run.open_model()

    def score(self, shard: Shard) -> int:
        """Score one shard and return the number of its inputs."""
        self._run.score_with(self._model, [shard])
        return shard.inputs


def score_on_ray(
    address: str,
    options: Any,
    shards: Sequence[Shard],
    *,
    progress: Callable[[int], object],
    opener: Callable[..., Any] = open_run,
    **init: Any,
) -> None:
    """Score shards on all CPUs of a Ray cluster.

    Args:
        address: Address of the cluster, as `ray.init` takes it; `local` starts one here.
        options: The run, whose paths or URLs must mean the same on every node.
        shards: Shards to score.
        progress: Called with the number of inputs of each shard that is done.
        opener: Opens the options as a run on each node, as `scoring.run.open_run` does.
        init: Further arguments of `ray.init`.
    """
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, **init)
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    workers = max(1, min(int(resources.get("CPU", 1)), len(shards)))
    actor: Any = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(_Worker)
    pool: Any = ActorPool([actor.remote(options, opener) for _ in range(workers)])
    for done in pool.map_unordered(lambda worker, shard: worker.score.remote(shard), shards):
        progress(done)
