"""Scoring from and to an S3 server on this machine, and on a local Ray cluster."""

import logging
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from scoring.__main__ import main


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
