"""Shards on a Ray cluster: one task each, in processes that keep the model for the next task.

Ray only maps shards. The shards of a lost process or node are scored again elsewhere, which is
harmless because of their names.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import ray
from ray.exceptions import RayError, RayTaskError

from scoring.errors import ScoringError
from scoring.plan import Shard
from scoring.run import open_run

# Times that a shard is begun again after its process or node was lost; a picture that ends every
# process must not do so for ever.
_MAX_RETRIES: Final = 8

_TASKS_PER_CPU: Final = 2  # so that no CPU waits for the next one


def score_on_ray(
    address: str,
    options: Any,
    shards: Sequence[Shard],
    *,
    progress: Callable[[int], object],
    opener: Callable[..., Any] = open_run,
    **init: Any,
) -> None:
    """Score shards on all CPUs of a Ray cluster, also those of nodes that join it meanwhile.

    Args:
        address: Address of the cluster, as `ray.init` takes it; `local` starts one here.
        options: The run, hashable, whose paths or URLs must mean the same on every node.
        shards: Shards to score.
        progress: Called with the number of inputs of each shard that is done.
        opener: Opens the options as a run on each node, as `scoring.run.open_run` does.
        init: Further arguments of `ray.init`.

    Raises:
        ScoringError: A shard lost its process or its node again and again.
    """
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, **init)
    task: Any = ray.remote(num_cpus=1, max_retries=_MAX_RETRIES)(_score)
    rest, running = iter(shards), set[Any]()
    while True:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        most = _TASKS_PER_CPU * max(1, int(resources.get("CPU", 1)))
        for shard in islice(rest, max(0, most - len(running))):
            running.add(task.remote(options, opener, shard))
        if not running:
            return
        (done, *_), _ = ray.wait(list(running), num_returns=1)
        running.remove(done)
        try:
            progress(ray.get(done))
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            raise ScoringError(f"Ray lost a shard {_MAX_RETRIES + 1} times ({error}).") from error


def _score(options: Any, opener: Callable[..., Any], shard: Shard) -> int:
    """Score one shard on one thread and return the number of its inputs."""
    run, model = _opened(options, opener)
    run.score_with(model, [shard])
    return shard.inputs


@lru_cache(1)
def _opened(options: Any, opener: Callable[..., Any]) -> tuple[Any, Any]:
    """Return the run and its loaded model, which this process keeps."""
    run = opener(options, threads=1)
    return run, run.open_model()
