"""`benchmarks.serving`: statistics, load generator, tables. No speed is asserted."""

import io
import math
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.serving.bench import Bench, LimitProcess, generate
from benchmarks.serving.bundles import make_backbone, make_head, plain_model, publish_bundle
from benchmarks.serving.figures import Spread, percentile, ratio
from benchmarks.serving.limit import ARRANGEMENTS
from benchmarks.serving.load import Load
from benchmarks.serving.pictures import mixed_sizes, photographs
from benchmarks.serving.plan import Plan, arrivals
from benchmarks.serving.plot import draw
from benchmarks.serving.processes import ServerFailed, family, free_port, running
from benchmarks.serving.report import markdown
from benchmarks.serving.rounds import check_generator, measure_service, soak
from benchmarks.serving.rows import LIMIT, SERVICE, Case, Row
from benchmarks.serving.wire import BrokenAnswer, read_answer, request_bytes
from models.bundle.load import load_graph, open_bundle
from models.bundle.store import current_version
from tests import WAIT_S
from tests.service.fixtures import code_picture
from tests.service.fixtures import publish_bundle as publish_fixture

GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"label": ""}'
REFUSED = b"HTTP/1.1 429 Too Many\r\nretry-after: 1\r\nContent-Length: 0\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
FAILED = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
NO_HTTP = b"220 mail.example ESMTP\r\n\r\n"
HANG_UP = b""


class Scripted:
    """A server whose n-th answer is given; afterwards it is good. It keeps when it did what."""

    def __init__(self, *script: bytes, hold_s: float = 0.0, hangs_up: bool = False) -> None:
        self._script = list(script)
        self._hold_s = hold_s  # before the first answer
        self._hangs_up = hangs_up  # after each answer, without a word
        self._lock = threading.Lock()
        self.received: list[bytes] = []
        self.asked_at: list[float] = []
        self.answered_at: list[float] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while head := lines.readline():
                while (line := lines.readline()) != b"\r\n":
                    head += line
                length = int(head.lower().rpartition(b"content-length: ")[2].split()[0])
                body = lines.read(length)
                with self._lock:
                    number = len(self.received)
                    self.received.append(body)
                    self.asked_at.append(time.perf_counter())
                    answer = self._script[number] if number < len(self._script) else GOOD
                if number == 0:
                    threading.Event().wait(self._hold_s)
                self.answered_at.append(time.perf_counter())
                connection.sendall(answer)
                if answer == HANG_UP or self._hangs_up:
                    return


@pytest.fixture(name="request_file")
def _request_file(tmp_path: Path) -> str:
    path = tmp_path / "one.http"
    path.write_bytes(request_bytes([b"picture"], path="/predict", field="files"))
    return str(path)


def run(server: Scripted, requests: Sequence[str], **more: Any) -> Any:
    fields = {"expected": 1, "connections": 1, "warm_s": 0.0, "drain_s": WAIT_S, **more}
    try:
        return Load(Plan(server.port, requests, **fields)).run()
    finally:
        server.close()


# --- statistics -----------------------------------------------------------------------------


def test_percentile_interpolates_between_ranks() -> None:
    values = [40.0, 10.0, 20.0, 30.0]
    assert [percentile(values, p) for p in (0, 50, 100)] == [10, 25, 40]
    assert percentile(values, 90) == pytest.approx(37)
    assert math.isnan(percentile([], 50))


def test_ratio_pairs_values_by_round() -> None:
    # A machine that is twice as slow in one round hits both sides: no spread is left.
    assert ratio([100, 50, 100], [200, 100, 200]) == Spread(0.5, 0.5, 0.5)
    assert ratio([3, 1], [4, 4]) == Spread(0.5, 0.25, 0.75)
    assert Spread(0.85, 0.8, 0.9).text(2) == "0.85 (0.80 to 0.90)"
    assert Spread.of([3.0]).text() == "3.0"
    with pytest.raises(ValueError, match="shorter"):
        ratio([1, 2], [1])


def test_arrivals_are_a_seeded_poisson_process() -> None:
    moments = arrivals(rate=100, seconds=50, seed=3)
    assert moments == arrivals(rate=100, seconds=50, seed=3) != arrivals(100, 50, 4)
    assert moments == sorted(moments)
    assert moments[0] > 0
    assert moments[-1] < 50
    assert len(moments) == pytest.approx(5000, abs=4 * math.sqrt(5000))
    gaps = [b - a for a, b in zip([0.0, *moments], moments, strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert deviation == pytest.approx(mean, rel=0.1)  # as of an exponential distribution


# --- HTTP as bytes --------------------------------------------------------------------------


def test_parser_returns_only_whole_answers() -> None:
    for cut in range(len(GOOD)):
        assert read_answer(bytearray(GOOD[:cut])) is None
    answer = read_answer(bytearray(GOOD))
    assert answer is not None
    assert (answer.status, answer.predictions, answer.closes) == (200, 1, False)
    refused = read_answer(bytearray(REFUSED))
    assert refused is not None
    assert (refused.status, refused.retry_after_s) == (429, 1)


@pytest.mark.parametrize(
    "received",
    [NO_HTTP, GOOD + b"x", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
)
def test_parser_raises_without_a_content_length(received: bytes) -> None:
    with pytest.raises(BrokenAnswer):
        read_answer(bytearray(received))


# --- the load generator ---------------------------------------------------------------------


def test_load_counts_answers_by_kind(request_file: str) -> None:
    server = Scripted(GOOD, REFUSED, EMPTY, NO_HTTP, FAILED, HANG_UP, GOOD)
    outcome = run(server, [request_file], count=8, obey_retry_after=False)
    assert outcome.requests == 8
    # Eight requests, and the one that was hung up on was sent again, as clients do... but only
    # on a connection that had been answered before; this one was new after the 500.
    assert len(outcome.latencies_ms) == outcome.images == outcome.all_images == 3
    assert len(outcome.refusals_ms) == 1
    assert outcome.broken == 2
    assert outcome.failed == {"500": 1, "closed": 1}
    assert outcome.unanswered == 0
    assert set(server.received) == {server.received[0]}


def test_load_reopens_an_idle_connection_that_was_closed(request_file: str) -> None:
    server = Scripted(hangs_up=True)
    outcome = run(server, [request_file], count=20)
    assert outcome.images == 20
    assert not outcome.failed


def test_load_counts_extra_predictions_as_broken(request_file: str) -> None:
    outcome = run(Scripted(), [request_file], count=3, expected=2)
    assert (outcome.broken, outcome.images) == (3, 0)


def test_load_pauses_a_refused_connection_for_retry_after(request_file: str) -> None:
    server = Scripted(REFUSED)
    outcome = run(server, [request_file], count=2)
    assert (len(outcome.refusals_ms), outcome.images) == (1, 1)
    assert server.asked_at[1] - server.answered_at[0] >= 1


def test_load_counts_a_missing_answer(request_file: str) -> None:
    half = GOOD[:-1]
    outcome = run(Scripted(half), [request_file], count=1, drain_s=0.0)
    assert (outcome.unanswered, outcome.images) == (1, 0)


def test_closed_loop_runs_until_each_connection_has_two_answers(request_file: str) -> None:
    outcome = run(Scripted(), [request_file], connections=4, seconds=0.05)
    assert len(outcome.latencies_ms) >= 8
    assert outcome.images / outcome.window_s > 0
    assert outcome.all_images == outcome.requests
    assert outcome.unanswered == outcome.broken == 0


def test_open_loop_measures_latency_from_the_due_time(request_file: str) -> None:
    server = Scripted(hold_s=0.3)
    due = arrivals(rate=100, seconds=0.2, seed=1)
    load = Load(Plan(server.port, [request_file], 1, 1, warm_s=0, seconds=0.2, rate=100, seed=1))
    outcome = load.run()
    server.close()
    assert len(outcome.latencies_ms) == len(due) == outcome.requests
    # While the first answer was held all others came due: their time is counted, though the
    # one connection was taken and they were sent at once when it was free.
    earliest = [at - load._began - moment for at, moment in zip(server.answered_at, due)]  # noqa: B905
    assert all(
        took >= 1000 * least for took, least in zip(outcome.latencies_ms, earliest, strict=True)
    )
    assert min(outcome.latencies_ms) >= 1000 * (0.3 + due[0] - due[-1])


def test_load_sends_whole_requests_in_turn(tmp_path: Path) -> None:
    paths, bodies = [], []
    for number, picture in enumerate((b"a", b"b" * 3_000_000)):
        data = request_bytes([picture, picture], path="/predict", field="files")
        (tmp_path / str(number)).write_bytes(data)
        paths.append(str(tmp_path / str(number)))
        bodies.append(data.partition(b"\r\n\r\n")[2])
    server = Scripted()
    run(server, paths, count=4)
    assert server.received == [*bodies, *bodies]


# --- processes ------------------------------------------------------------------------------


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> Bench:
    store = tmp_path / "store"
    publish_fixture(store)
    pictures = {"640x480": [code_picture(5, format="JPEG"), code_picture(6, format="JPEG")]}
    folder = tmp_path / "files"
    folder.mkdir()
    return Bench(folder, tmp_path, store=store, pictures=pictures, seconds=0.05, seed=0)


def test_generator_measures_its_own_limit_with_the_stub(bench: Bench) -> None:
    (found,) = check_generator(bench)
    assert found["size"] == "640x480"
    assert found["rate"] > 0
    assert found["cpu_ms"] > 0


def test_running_stops_a_server_with_its_children(bench: Bench, tmp_path: Path) -> None:
    port = free_port()
    parent = (
        "import subprocess, sys; subprocess.run([sys.executable, '-m', "
        f"'benchmarks.serving.stub', '{port}'])"
    )
    request = Path(bench.requests("640x480", 1)[0]).read_bytes()
    with running(
        [sys.executable, "-c", parent],
        port=port,
        request=request,
        environment={},
        log=tmp_path / "log",
    ) as server:
        assert len(family(server.pid)) == 2
        assert server.resident_mb() > 1
        assert server.first_answer_s > 0
    assert family(server.pid) == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def test_running_raises_with_the_log_of_a_server_that_fails(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit(7)"]
    with (
        pytest.raises(ServerFailed, match="status 7"),
        running(command, port=free_port(), request=b"", environment={}, log=tmp_path / "log"),
    ):
        pass


def test_round_measures_the_limit_and_the_service(bench: Bench, tmp_path: Path) -> None:
    bundle = bench.store / current_version(bench.store)
    cases = [Case("640x480", 1, (1,)), Case("640x480", 2, (2,))]
    with LimitProcess(bundle, tmp_path / "limit.log") as limit:
        rows = list(measure_service(bench, limit, 0, cases))
    found = [(row.server, row.setting or row.load, row.pictures) for row in rows]
    assert found == [
        (LIMIT, "lanes", 1),
        (LIMIT, "pool", 1),
        (LIMIT, "alone", 1),
        (SERVICE, "closed", 1),
        (SERVICE, "open 50%", 1),
        (SERVICE, "open 90%", 1),
        (LIMIT, "lanes", 2),
        (LIMIT, "pool", 2),
        (SERVICE, "closed", 2),
        (SERVICE, "overload", 1),
        (SERVICE, "overload, no pause", 1),
    ]
    assert all(row.rate > 0 for row in rows if row.load == "closed")
    assert all(row.bad == 0 for row in rows)


def test_limit_process_raises_if_it_dies(tmp_path: Path) -> None:
    with (
        LimitProcess(tmp_path / "nothing", tmp_path / "limit.log") as limit,
        pytest.raises(ServerFailed, match="limit did not answer"),
    ):
        limit.measure("lanes", [], 0.1)


def test_soak_counts_every_request(bench: Bench) -> None:
    with bench.service() as server:
        steps = soak(bench, server, bench.requests("640x480", 1), 25)
    assert [step["requests"] for step in steps] == [2, 5, 7, 10, 12, 15, 17, 20, 22, 25]
    assert sum(step["answered"] for step in steps) == 25
    assert all(step["resident_mb"] > 1 for step in steps)


def test_plan_survives_serialisation_to_the_generator(request_file: str, tmp_path: Path) -> None:
    server = Scripted(REFUSED, FAILED)
    plan = Plan(server.port, [request_file], 1, 1, warm_s=0, count=5, obey_retry_after=False)
    outcome = generate(plan, tmp_path)
    server.close()
    assert (outcome["images"], len(outcome["refusals_ms"]), outcome["failed"]) == (3, 1, {"500": 1})


# --- models, pictures, tables ---------------------------------------------------------------


def test_bundles_exports_a_bundle_and_a_plain_model(tmp_path: Path) -> None:
    pictures = photographs((64, 48), count=2, seed=0)
    backbone = make_backbone("mobilenet_v3_small", pictures, seed=0)
    head = make_head(backbone, seed=0)
    bundle = publish_bundle(tmp_path, backbone, head, pictures, precision="fp32")
    assert open_bundle(bundle.path).manifest.backbone.name == "mobilenet_v3_small"
    pixels = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    mean = torch.tensor(backbone.spec.mean_rgb).view(3, 1, 1)
    std = torch.tensor(backbone.spec.std_rgb).view(3, 1, 1)
    with torch.inference_mode():
        wanted, _ = bundle.model(pixels.to(torch.uint8))
        for channels_last in (False, True):
            plain = load_graph(plain_model(backbone, head, channels_last=channels_last))
            torch.testing.assert_close(plain((pixels - mean) / std), wanted, atol=1e-4, rtol=0)
    assert float((wanted[0] - wanted[1]).abs().max()) > 0  # the picture matters


def test_photographs_have_the_given_size_and_differ() -> None:
    pictures = photographs((64, 48), count=3, seed=0)
    assert len(set(pictures)) == 3
    assert pictures == photographs((64, 48), count=3, seed=0)
    for data in pictures:
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.size) == ("JPEG", (64, 48))


def test_mixed_sizes_range_from_thumbnail_to_photograph() -> None:
    widths = [Image.open(io.BytesIO(data)).width for data in mixed_sizes(count=3, seed=0)]
    assert widths == [100, 632, 4000]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_limit_arrangement_answers_images(arrangement: str, bench: Bench, tmp_path: Path) -> None:
    bundle = bench.store / current_version(bench.store)
    with LimitProcess(bundle, tmp_path / "limit.log") as limit:
        result = limit.measure(arrangement, bench.files["640x480"], 0.01)
    assert result["rate"] > 0
    assert result["batch_ms"]


def results() -> dict[str, Any]:
    """Two rounds, the second on a machine half as fast."""
    rows = []
    for number, speed in enumerate((1.0, 0.5)):
        row = Row(number, LIMIT, "lanes", "640x480", 1, 0, "closed", 100 * speed, 40, 41, 42)
        rows.append(row)
        rows.append(replace(row, setting="pool", rate=80 * speed))
        rows.append(replace(row, setting="alone", rate=30 * speed, p50_ms=10))
        served = replace(row, server=SERVICE, setting="", connections=1, rate=30 * speed, p50_ms=12)
        rows.append(served)
        rows.append(replace(served, connections=32, rate=95 * speed, p50_ms=300))
        for load in ("open 50%", "open 90%", "overload", "overload, no pause"):
            rows.append(replace(served, load=load, connections=0, rate=50 * speed, p99_ms=36))
        peer = replace(served, server="litserve", setting="1 x 2", connections=32)
        rows += [replace(peer, rate=50 * speed), replace(peer, setting="2 x 1", rate=40 * speed)]
    return {
        "about": {
            "arch": "resnet18",
            "precision": "fp32",
            "cores": 2,
            "cpu": "a processor",
            "torch": "2",
            "repeats": 2,
            "seconds": 5.0,
        },
        "pictures": {"640x480": [60_000, 70_000]},
        "generator": [{"size": "640x480", "rate": 9000.0, "cpu_ms": 0.05}],
        "peers": {"litserve": {"litserve": "1.2.3"}},
        "rows": [asdict(row) for row in rows],
        "soak": [
            {"requests": 10, "answered": 10, "resident_mb": 400.0},
            {"requests": 20, "answered": 10, "resident_mb": 404.0},
        ],
    }


def test_report_compares_rows_of_the_same_round() -> None:
    text = markdown(results())
    assert "| 640x480 | 1 | 32 | closed | 71.2 (47.5 to 95.0) | 0.950 |" in text
    assert "| 640x480 | litserve | 37.5 (25.0 to 50.0) | 1.90 |" in text
    assert "| p50 at one connection above decode + forward, ms | 2.00 |" in text
    assert "p99 at 90 % of capacity, open loop, over p50 at one connection | 3.00 |" in text
    assert "| overload: goodput over capacity | 0.526 |" in text
    assert "| 20 | 10 | 404 | +1.0% |" in text


def test_draw_writes_the_plot(tmp_path: Path) -> None:
    draw(results(), tmp_path / "serving.svg")
    text = (tmp_path / "serving.svg").read_text()
    assert text.startswith("<?xml")
