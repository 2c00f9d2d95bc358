"""Scoring from and to an S3 server on this machine, and on local Ray clusters."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from scoring.__main__ import main
from scoring.errors import OutputUnusable
from scoring.plan import Options, Shard
from scoring.run import Run, RunOptions, open_run
from tests import WAIT_S


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{port}")
    file_system = fsspec.filesystem("s3", skip_instance_cache=True)
    file_system.mkdir("archive")
    yield file_system
    fsspec.core.url_to_fs("s3://archive")[0].clear_instance_cache()
    server.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_archive_in_s3_gets_the_rows_of_a_local_one(
    s3: fsspec.AbstractFileSystem, archive: Path, store: Path, tmp_path: Path
) -> None:
    s3.put(f"{archive}/", "archive/in/", recursive=True)
    options = ["--model", str(store), "--shard-size", "20"]
    assert main(["s3://archive/in", "s3://archive/out", *options]) == 0
    assert main([str(archive), str(tmp_path / "out"), *options]) == 0

    s3.invalidate_cache()
    s3.get("archive/out/", str(tmp_path / "fetched"), recursive=True)
    for output in ("fetched", "out"):
        assert (tmp_path / output / "_manifest.json").is_file()
    rows = [
        pq.read_table(tmp_path / output, columns=["key", "sha256", "decision", "score"]).to_pylist()
        for output in ("fetched", "out")
    ]
    assert len(rows[0]) > 50
    assert rows[0] == rows[1]

    before = s3.ls("archive/out", detail=False)
    assert main(["s3://archive/in", "s3://archive/out", *options]) == 0
    s3.invalidate_cache()
    assert s3.ls("archive/out", detail=False) == before


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"
)
def test_ray_scores_the_same_bytes(archive: Path, store: Path, tmp_path: Path) -> None:
    import ray

    options = ["--model", str(store), "--shard-size", "10"]
    assert main([str(archive), str(tmp_path / "one"), *options]) == 0
    try:
        assert main([str(archive), str(tmp_path / "ray"), *options, "--ray"]) == 0
    finally:
        ray.shutdown()
    one, other = (sorted((tmp_path / name).glob("*.parquet")) for name in ("one", "ray"))
    assert [path.name for path in one] == [path.name for path in other]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


_STUCK = 5  # index of the shard whose node is killed


class _SlowRun:
    """A run that is stuck in one shard, once; a file beside the output names the node."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._stuck = Path(run.options.output).parent / "stuck"

    def open_model(self) -> Any:
        return self._run.open_model()

    def score_with(self, model: Any, shards: Sequence[Shard]) -> None:
        import ray

        if shards[0].index == _STUCK and not self._stuck.exists():
            self._stuck.write_text(ray.get_runtime_context().get_node_id())
            time.sleep(600)
        time.sleep(0.1)  # so that the other node is not finished before
        self._run.score_with(model, shards)


def _open_slowly(options: RunOptions, *, threads: int) -> _SlowRun:
    return _SlowRun(open_run(options, threads=threads))


def _fail(options: RunOptions, *, threads: int) -> Run:
    raise OutputUnusable("The disk is full.")


@pytest.fixture
def nodes() -> Iterator[tuple[Any, list[Any]]]:
    """A Ray cluster of two nodes with one CPU each, and the two."""
    import ray
    from ray.cluster_utils import Cluster

    here: dict[str, Any] = {"object_store_memory": 100_000_000}
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0} | here)
    try:
        added = [cluster.add_node(num_cpus=1, **here) for _ in range(2)]
        yield cluster, added
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"
)
def test_a_node_killed_in_the_middle_costs_no_row(
    archive: Path, store: Path, tmp_path: Path, nodes: tuple[Any, list[Any]]
) -> None:
    from scoring.ray_runner import score_on_ray

    cluster, both = nodes
    assert (
        main([str(archive), str(tmp_path / "one"), "--model", str(store), "--shard-size", "2"]) == 0
    )
    options = RunOptions(str(archive), str(tmp_path / "ray"), store, Options(shard_size=2))
    shards = open_run(options).plan()
    done: list[int] = []
    left_at_kill: list[int] = []

    def kill() -> None:
        stuck = tmp_path / "stuck"
        while not stuck.exists() or not (found := stuck.read_text()) or not done:
            time.sleep(0.05)
        (node,) = (node for node in both if node.node_id == found)
        left_at_kill.append(len(shards) - len(done))
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    score_on_ray(cluster.address, options, shards, opener=_open_slowly, progress=done.append)
    killer.join(timeout=WAIT_S)
    assert not killer.is_alive()

    (left,) = left_at_kill
    assert left >= 1
    assert sum(done) == sum(shard.inputs for shard in shards)
    one, other = (_shards(tmp_path / name) for name in ("one", "ray"))
    assert one == other
    keys = Counter(
        key for path in (tmp_path / "ray").glob("*.parquet") for key in pq.read_table(path)["key"]
    )
    assert len(keys) == sum(shard.inputs for shard in shards)
    assert set(keys.values()) == {1}

    with pytest.raises(OutputUnusable, match=r"^The disk is full\.$"):
        score_on_ray(cluster.address, options, shards, opener=_fail, progress=done.append)


def _shards(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("*.parquet")}
