"""Upload, grid and keyboard of the studio's pages with many pictures, in Chromium on loopback.

    python -m benchmarks.studio_page [--files 10000] [--edge 512] [--folder DIR] [--slowdown 1]

Draws the pictures (about 100 kB each at 512 px), starts a studio of its own on a temporary folder,
drops them, cuts the upload at half, drops them again, and once more; then opens each screen,
scrolls and labels. Needs Chromium and about 2.5 times the pictures' size of disk. Run it on a quiet
machine.
"""

import argparse
import contextlib
import io
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

_CHROMIUM = "/usr/bin/chromium"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info"]
_CLASSES = ("left", "right")
_START_S = 60
_UPLOAD_S = 3600
_MB = 2**20
_SAMPLE_MS = 500
_SCROLLS = 120
_KEYS = 200
# Tasks over 50 ms, and long frames with the milliseconds of each kind of work.
_WATCH = """
window.longTasks = [];
window.longFrames = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((e) => e.duration)))
    .observe({ type: "longtask", buffered: true });
new PerformanceObserver((list) => {
    for (const frame of list.getEntries()) {
        const end = frame.startTime + frame.duration;
        longFrames.push({
            duration: frame.duration,
            script: frame.scripts.reduce((sum, { duration }) => sum + duration, 0),
            style: frame.styleAndLayoutStart ? end - frame.styleAndLayoutStart : 0,
        });
    }
}).observe({ type: "long-animation-frame", buffered: true });
"""
_OPEN_S = 60
# From the click on a step to the frame in which an element of its screen is there.
_OPEN = """async ([title, selector]) => {
    const links = [...document.querySelectorAll(".steps a")];
    const link = links.find((one) => one.textContent.includes(title));
    const begun = performance.now();
    link.click();
    while (!document.querySelector(selector)) await new Promise(requestAnimationFrame);
    const image = document.querySelector(".cell img[src]");
    if (image) await image.decode();
    await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""
# What shows that a screen is complete, by the title of its step.
_SCREENS = {
    "Labels": ".cell[data-state=labelled] img[src]",
    "Train": "#start-heading",
    "Results": ".nothing",
    "In use": "#served-heading",
    "Data": "#versions-heading",
}
# From the key to the frame in which the next picture is the active one.
_PRESS = """async (key) => {
    const before = document.querySelector(".cell.active").dataset.index;
    const begun = performance.now();
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    while (document.querySelector(".cell.active")?.dataset.index === before) {
        await new Promise(requestAnimationFrame);
    }
    await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""


def draw(path: Path, seed: int, edge: int) -> None:
    """Draw a picture that compresses like a photograph, no two alike."""
    source = random.Random(seed)
    coarse = Image.frombytes("RGB", (16, 16), source.randbytes(768)).resize((edge, edge))
    noise = Image.frombytes("L", (edge, edge), source.randbytes(edge * edge)).convert("RGB")
    data = io.BytesIO()
    Image.blend(coarse, noise, 0.12).save(data, "JPEG", quality=85)
    path.write_bytes(data.getvalue())


def draw_all(folder: Path, files: int, edge: int) -> None:
    """Draw the pictures that are not there yet, half of them per class."""
    for name in _CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    paths = [folder / _CLASSES[n % 2] / f"{n:05}.jpg" for n in range(files)]
    missing = [(path, n) for n, path in enumerate(paths) if not path.exists()]
    with ProcessPoolExecutor() as pool:
        list(pool.map(draw, *zip(*missing, strict=True), [edge] * len(missing), chunksize=50))


@contextlib.contextmanager
def studio(folder: Path) -> Iterator[str]:
    """Run a studio on a folder, and yield its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    environment = os.environ | {
        "FACEMASK_STUDIO_DATA": str(folder / "data"),
        "FACEMASK_STORE": str(folder / "store"),
        "FACEMASK_STUDIO_PORT": str(port),
    }
    address = f"http://127.0.0.1:{port}"
    log = folder / "studio.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "studio"], env=environment, stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + _START_S
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    httpx.get(f"{address}/livez")
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(log.read_text())
                time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait()


class Drop:
    """A drop of folders, what is sent because of it, and the memory that it takes."""

    def __init__(self, page: Page, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._session: CDPSession = page.context.new_cdp_session(page)
        browser = page.context.browser
        assert browser is not None
        self._processes = browser.new_browser_cdp_session()
        self._urls: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        self.heap_mb = 0.0
        self.process_mb = 0.0
        self._session.on("Network.requestWillBeSent", self._name)
        self._session.on("Network.requestWillBeSentExtraInfo", self._count)
        self._session.send("Network.enable")

    def _name(self, event: dict[str, Any]) -> None:
        self._urls[event["requestId"]] = event["request"]["url"]

    def _count(self, event: dict[str, Any]) -> None:
        headers = {name.lower(): value for name, value in event["headers"].items()}
        self._sizes[event["requestId"]] = int(headers.get("content-length", 0))

    def sent_bytes(self, *, pictures: bool) -> int:
        """Return the bytes of the requests with pictures, or of the others."""
        # A request's address and its size come as two events, in any order.
        return sum(
            size
            for id, size in self._sizes.items()
            if ("/pictures" in self._urls.get(id, "")) == pictures
        )

    def drop(self) -> None:
        """Drop the folders as a file manager does."""
        files = [str(self._folder / name) for name in _CLASSES]
        data = {"items": [], "files": files, "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            event = {"type": kind, "x": 200, "y": 300, "data": data}
            self._session.send("Input.dispatchDragEvent", event)

    def wait(self, until: Any) -> float:
        """Sample the heap until a condition holds; return the seconds that this took."""
        begun = time.monotonic()
        while not until():
            if time.monotonic() > begun + _UPLOAD_S:
                raise SystemExit("The upload does not end.")
            self._sample()
            self._page.wait_for_timeout(_SAMPLE_MS)
        return time.monotonic() - begun

    def _sample(self) -> None:
        """Take the heap of the page's script, and the memory of the largest tab's process."""
        used = self._session.send("Runtime.getHeapUsage")["usedSize"]
        self.heap_mb = max(self.heap_mb, used / _MB)
        for process in self._processes.send("SystemInfo.getProcessInfo")["processInfo"]:
            if process["type"] == "renderer":
                status = Path(f"/proc/{process['id']}/status").read_text(encoding="ascii")
                kb = int(status.partition("VmRSS:")[2].split()[0])
                self.process_mb = max(self.process_mb, kb / 1024)

    def is_done(self) -> bool:
        """Return True once the page says so."""
        state = self._page.locator(".upload")
        return state.count() > 0 and state.get_attribute("data-state") == "done"


def measure_upload(browser: Browser, address: str, folder: Path, files: int) -> str:
    """Upload all, cut at half; then the rest; then all again. Return the project's page."""

    client = httpx.Client(base_url=address)

    def held() -> int:
        found = client.get("/api/projects").json()["projects"]
        return int(found[0]["counts"]["pictures"]) if found else 0

    sizes = sum(path.stat().st_size for path in folder.rglob("*.jpg"))
    print(f"pictures               {files:8,} files, {sizes / _MB:,.0f} MB")
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("heading", name="Drop your folders here").wait_for()
    first = Drop(page, folder)
    first.drop()
    first_s = first.wait(lambda: held() >= files // 2)
    half = held()
    print(f"upload                 {half / first_s:8.0f} files/s, {half:,} in {first_s:.1f} s")
    print(f"memory of the tab, max {first.heap_mb:8.0f} MB of script, ", end="")
    print(f"{first.process_mb:.0f} MB of its process")
    location = page.url
    page.close()
    time.sleep(2)  # what was on its way arrives
    half = held()
    print(f"held after the cut     {half:8,} ({100 * half / files:.1f}%)")
    for name in ("rest after the cut", "all once more"):
        page = browser.new_page()
        page.goto(location)
        page.get_by_role("heading", name="Add pictures").wait_for()
        again = Drop(page, folder)
        again.drop()
        again_s = again.wait(again.is_done)
        share = again.sent_bytes(pictures=True) / sizes
        print(
            f"{name:<22} {again_s:8.0f} s, {100 * share:.1f}% of the pictures' bytes sent, ", end=""
        )
        print(f"{again.sent_bytes(pictures=False) / _MB:.1f} MB else, ", end="")
        print(f"{again.heap_mb:.0f} MB of script, {held():,} held")
        page.close()
    return location.removesuffix("/data")


def measure_screens(browser: Browser, project: str) -> None:
    """Measure from a click to each screen, and the answers behind them."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.goto(f"{project}/data")
    page.locator("#versions-heading").wait_for()
    page.set_default_timeout(1000 * _OPEN_S)
    for title, selector in _SCREENS.items():
        print(f"click to {title:<13} {page.evaluate(_OPEN, [title, selector]):8.0f} ms")
    page.close()
    api = project.replace("/projects/", "/api/projects/")
    for name, path in (("counts", ""), ("index", "/index?order=label_issues")):
        begun = time.perf_counter()
        httpx.get(f"{api}{path}").raise_for_status()
        print(f"{name:<22} {1000 * (time.perf_counter() - begun):8.0f} ms")


def measure_grid(browser: Browser, location: str, slowdown: float) -> None:
    """Measure first paint, cells and long tasks while scrolling, and the keys."""
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.add_init_script(_WATCH)
    paints = []
    for _ in range(5):
        page.goto(location)
        page.locator(".cell[data-state=labelled] img[src]").first.wait_for()
        paints.append(
            page.evaluate(
                """async () => {
                    const image = document.querySelector(".cell img[src]");
                    await image.decode();
                    await new Promise(requestAnimationFrame);
                    return performance.now();
                }"""
            )
        )
    print(f"first pictures, median {statistics.median(paints):8.0f} ms after the navigation")
    page.wait_for_timeout(1000)
    measure_scrolling(page, slowdown)
    page.locator(".grid").focus()
    page.keyboard.press("Home")
    page.locator(".cell.active").wait_for()
    times = sorted(page.evaluate(_PRESS, str(1 + n % 2)) for n in range(_KEYS))
    print(f"key to next, p95       {times[int(0.95 * _KEYS)]:8.0f} ms")
    page.get_by_text("All saved").wait_for()
    page.close()


def measure_scrolling(page: Page, slowdown: float) -> None:
    """Scroll by rows and by jumps; print the max cells, the long tasks and what they did."""
    page.evaluate("() => { longTasks.length = longFrames.length = 0 }")
    page.locator(".grid").hover()
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
    cells = 0
    for n in range(_SCROLLS):
        page.mouse.wheel(0, 900 if n % 10 else 40_000)
        page.wait_for_timeout(30)
        cells = max(cells, page.locator(".cell").count())
    page.wait_for_timeout(_SAMPLE_MS)
    session.detach()  # ends the slowdown
    tasks: list[float] = page.evaluate("() => longTasks")
    frames: list[dict[str, float]] = page.evaluate("() => longFrames")
    print(f"cells, max             {cells:8}")
    print(f"long tasks, scrolling  {len(tasks):8} (longest {max(tasks, default=0):.0f} ms)")
    if frames:
        longest = max(frames, key=lambda frame: frame["duration"])
        print(
            f"longest frame          {longest['duration']:8.0f} ms, {longest['script']:.0f} of ",
            end="",
        )
        print(f"them script, {longest['style']:.0f} style, layout and paint")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--edge", type=int, default=512, help="edge of the pictures in pixels")
    parser.add_argument(
        "--slowdown", type=float, default=1, help="times slower processor while scrolling"
    )
    parser.add_argument("--folder", type=Path, help="where the pictures are drawn, and kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "pictures"
        draw_all(folder, options.files, options.edge)
        with sync_playwright() as playwright, studio(Path(temporary)) as address:
            browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_FLAGS)
            project = measure_upload(browser, address, folder, options.files)
            measure_screens(browser, project)
            measure_grid(browser, f"{project}/labels", options.slowdown)
            browser.close()


if __name__ == "__main__":
    main()
