"""The Open Inference Protocol, with NVIDIA's client and with invalid requests."""

import asyncio
import base64
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import tritonclient.http as triton
import uvicorn
from torch import Tensor
from tritonclient.utils import InferenceServerException

from models.bundle.load import Bundle
from models.imaging.decode import decode_image
from service.app import create_app
from service.http.kserve.routes import NAME
from service.http.kserve.tensors import json_part_bytes, pictures_of, split_body
from service.keys import hash_of
from service.limits.json_cost import MAX_JSON_BYTES
from tests import ROOT, WAIT_S
from tests.service.fixtures import (
    CODES,
    SIZE_PX,
    THRESHOLD,
    GatedModel,
    code_of,
    code_picture,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)
from tests.service.http.checks import bad

INFER = f"/v2/models/{NAME}/infer"


@pytest.fixture(scope="module", name="bundle")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return publish_bundle(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module", name="address")
def _address(bundle: Bundle) -> Iterator[str]:
    """Serve on a real socket and return its address."""
    app = create_app(settings_of(bundle.path.parent), make_engine(bundle))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.fixture(scope="module", name="client")
def _client(address: str) -> Iterator[triton.InferenceServerClient]:
    """Return NVIDIA's client of the server."""
    client = triton.InferenceServerClient(address)
    yield client
    client.close()


def images(*codes: int) -> Any:
    tensor = triton.InferInput("image", [len(codes)], "BYTES")
    data = np.array([code_picture(code) for code in codes], dtype=object)
    return tensor.set_data_from_numpy(data)


def pixels(*codes: int, binary: bool = True) -> Any:
    rows = [decode_image(code_picture(code), size=SIZE_PX).numpy() for code in codes]
    tensor = triton.InferInput("pixels", [len(codes), 3, SIZE_PX, SIZE_PX], "UINT8")
    return tensor.set_data_from_numpy(np.stack(rows), binary_data=binary)


def codes_of(answer: Any) -> list[int]:
    rows = answer.as_numpy("probabilities")
    return [code_of({"scores": dict(enumerate(row.tolist()))}) for row in rows]


# --- with the client -----------------------------------------------------------------------


def test_client_reads_server_and_model_metadata(client: Any, bundle: Bundle) -> None:
    version = bundle.manifest.version
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, version)
    assert not client.is_model_ready("resnet")
    assert not client.is_model_ready(NAME, "1")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata(NAME, version)
    assert metadata["versions"] == [version]
    assert metadata["inputs"][1]["shape"] == [-1, 3, SIZE_PX, SIZE_PX]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("make", [images, pixels])
def test_infer_returns_each_picture_its_own_answer(
    client: Any, bundle: Bundle, make: Any, binary: bool
) -> None:
    codes = [100, 2048, 4000]
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary)
        for name in ("probabilities", "label", "decision")
    ]
    answer = client.infer(NAME, [make(*codes)], outputs=outputs, request_id="id-1")
    assert codes_of(answer) == codes
    # Strings arrive as bytes in binary, as text in JSON.
    found = {name: answer.as_numpy(name).astype(str).tolist() for name in ("label", "decision")}
    assert [word.removeprefix("b'").removesuffix("'") for word in found["decision"]] == [
        "no_mask",
        "uncertain",
        "mask",
    ]
    response = answer.get_response()
    assert response["model_version"] == bundle.manifest.version
    assert response["id"] == "id-1"


def test_infer_returns_all_outputs_in_binary_by_default(client: Any) -> None:
    answer = client.infer(NAME, [images(7)])
    outputs = {output["name"]: output for output in answer.get_response()["outputs"]}
    assert set(outputs) == {"probabilities", "label", "decision"}
    assert all("data" not in output for output in outputs.values())
    assert codes_of(answer) == [7]


def test_infer_decides_by_the_threshold_of_its_parameters(client: Any) -> None:
    for parameters, threshold, decision in (
        (None, THRESHOLD, b"uncertain"),
        ({"threshold": 0}, 0, b"no_mask"),
        ({"threshold": 0.9}, 0.9, b"uncertain"),
    ):
        answer = client.infer(NAME, [images(2040)], parameters=parameters)
        assert answer.as_numpy("decision").tolist() == [decision]
        assert answer.get_response()["parameters"] == {"threshold": threshold}
    unfamiliar = client.infer(NAME, [images(CODES - 1)], parameters={"threshold": 0})
    assert unfamiliar.as_numpy("decision").tolist() == [b"unfamiliar"]
    assert unfamiliar.as_numpy("label").tolist() == [b"mask"]


@pytest.mark.parametrize("threshold", [2, -0.5, "0.5", True, [0.5]])
def test_infer_refuses_a_threshold_outside_0_to_1(client: Any, threshold: Any) -> None:
    with pytest.raises(InferenceServerException, match="threshold must be a number"):
        client.infer(NAME, [images(1)], parameters={"threshold": threshold})


def test_infer_accepts_pixels_as_json_numbers(client: Any) -> None:
    answer = client.infer(NAME, [pixels(CODES - 1, 3, binary=False)])
    assert codes_of(answer) == [CODES - 1, 3]


def test_infer_returns_requested_outputs_only(client: Any, bundle: Bundle) -> None:
    outputs = [triton.InferRequestedOutput("label", binary_data=False)]
    answer = client.infer(
        NAME, [images(4000)], model_version=bundle.manifest.version, outputs=outputs
    )
    (output,) = answer.get_response()["outputs"]
    assert output == {"name": "label", "shape": [1], "datatype": "BYTES", "data": ["mask"]}


def test_client_receives_the_error_s_detail(client: Any) -> None:
    for data, reason in ((b"?", "Picture 1: Not a picture"), (b"", "Picture 1: The file is empty")):
        tensor = triton.InferInput("image", [2], "BYTES")
        tensor.set_data_from_numpy(np.array([code_picture(1), data], dtype=object))
        with pytest.raises(InferenceServerException, match=reason):
            client.infer(NAME, [tensor])
    with pytest.raises(InferenceServerException, match=f"Only {NAME}"):
        client.infer("resnet", [images(1)])
    with pytest.raises(InferenceServerException, match="compressed"):
        client.infer(NAME, [images(1)], request_compression_algorithm="gzip")


def test_documented_snippet_prints_the_documented_output(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = ROOT / "docs" / "http-api.md"
    (snippet,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    (tmp_path / "a.jpg").write_bytes(code_picture(4000, format="JPEG"))
    (tmp_path / "b.jpg").write_bytes(code_picture(100, format="JPEG"))
    monkeypatch.chdir(tmp_path)
    spaces: dict[str, Any] = {}
    exec(snippet.replace("127.0.0.1:8000", address), spaces)
    assert capsys.readouterr().out.startswith("[b'mask' b'no_mask']")
    spaces["client"].close()


# --- without it ----------------------------------------------------------------------------


def post(bundle: Bundle, body: bytes, headers: dict[str, str], **values: Any) -> httpx.Response:
    settings = settings_of(bundle.path.parent, **values)
    engine = make_engine(bundle, max_pixels=settings.max_pixels)

    async def scene() -> httpx.Response:
        async with serving(settings, engine) as (client, _):
            return await client.post(INFER, content=body, headers=headers)

    return wait(scene())


def binary(document: dict[str, Any], data: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(document).encode()
    return text + data, {"Inference-Header-Content-Length": str(len(text))}


def one(name: str, shape: list[int], datatype: str, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, **more}]}


ELEMENT = struct.pack("<I", len(code_picture(1))) + code_picture(1)
PLANES = 3 * SIZE_PX * SIZE_PX


def sized(size: int) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": size}}


@pytest.mark.parametrize(
    ("document", "data"),
    [
        ({}, b""),
        ({"inputs": []}, b""),
        ({"inputs": {}}, b""),
        ({"inputs": [{"name": "image"}]}, b""),
        (one("image", [0], "BYTES", data=[]), b""),
        (one("image", [-1], "BYTES", data=[]), b""),
        (one("image", [2], "BYTES", data=["x"]), b""),
        (one("image", [1], "BYTES", data=[5]), b""),
        (one("image", [1], "BYTES", data=[["x"]]), b""),
        (one("image", [1], "BYTES"), ELEMENT),
        (one("image", [1], "BYTES", data=["x"]), ELEMENT),
        (one("image", [1], "BYTES", data=["x"], **sized(len(ELEMENT))), ELEMENT),
        (one("image", [1], "BYTES", **sized(len(ELEMENT) + 1)), ELEMENT),
        (one("image", [1], "BYTES", **sized(len(ELEMENT) - 1)), ELEMENT),
        (one("image", [1], "BYTES", parameters={"binary_data_size": "9"}), ELEMENT),
        (one("image", [1], "BYTES", parameters={"binary_data_size": True}), b"\0"),
        (one("image", [1], "BYTES", **sized(len(ELEMENT) - 1)), ELEMENT[:-1]),
        (one("image", [1], "BYTES", **sized(3)), b"\0\0\0"),
        (one("image", [1], "BYTES", **sized(8000)), bytes(8000)),
        (one("image", [2], "BYTES", **sized(len(ELEMENT))), ELEMENT),
        (one("image", [1], "UINT8", **sized(len(ELEMENT))), ELEMENT),
        (one("other", [1], "BYTES", **sized(len(ELEMENT))), ELEMENT),
        (one("pixels", [1, 3, 9, 9], "UINT8", **sized(243)), bytes(243)),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", **sized(9)), bytes(9)),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", **sized(0)), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[0.5] * PLANES), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[256] * PLANES), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[-1] * PLANES), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[10**30] * PLANES), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[[1], [1, 2]]), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=["1"] * PLANES), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[]), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[True] * PLANES), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[None] * PLANES), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[[0], [0, 0]] * (PLANES // 3)), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[[[0]], [0]] * (PLANES // 2)), b""),
        (one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[[], []]), b""),
        (one("image", [1], "BYTES", data=[0.5]), b""),
        (one("image", [1] * 9, "BYTES", data=["x"]), b""),
    ],
)
def test_infer_returns_400_with_the_reason_for_invalid_tensors(
    document: dict[str, Any], data: bytes, bundle: Bundle
) -> None:
    response = post(bundle, *binary(document, data))
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "bad_inference"
    assert response.json()["error"] == response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", None),
        (b"{", None),
        (b"\xff\xfe", None),
        (b"[" * 100_000, None),
        (b"null", None),
        (b"{}", "3"),
        (b"{}", "-1"),
        (b"{}", "two"),
        (b"{}", "\u0662"),
        (b"{}", "9" * 5000),
        (b'{"inputs": [{"name": "\\ud800", "shape": [1], "datatype": "BYTES"}]}', None),
        (b'{"inputs": [{"parameters": {"\\ud800": 1}}]}', None),
    ],
)
def test_infer_returns_400_for_an_invalid_body(
    body: bytes, length: str | None, bundle: Bundle
) -> None:
    headers = {} if length is None else {"Inference-Header-Content-Length": length}
    encoded: Any = {name: value.encode() for name, value in headers.items()}
    response = post(bundle, body, encoded)
    assert (response.status_code, response.json()["code"]) == (400, "bad_inference")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ("[]," * 9_000, "bad_inference"),
        ("{}," * 9_000, "bad_inference"),
        ('{"a":1},' * 4_100, "bad_inference"),
        ("[" * 9_000, "bad_inference"),
        ("1," * 300_000, "body_too_large"),
        ('"",' * 300_000, "body_too_large"),
        ("1.5," * 300_000, "body_too_large"),
        ("[]," * 340_000, "body_too_large"),
    ],
)
def test_json_that_is_costly_to_parse_is_refused_before(
    values: str, code: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr("service.http.kserve.tensors.json", SimpleNamespace(loads=never))
    body = json.dumps(one("pixels", [1, 3, SIZE_PX, SIZE_PX], "UINT8", data=[]))[:-3]
    response = post(bundle, f"{body}{values}0]}}]}}".encode(), {})
    assert response.json()["code"] == code
    assert response.status_code == (400 if code == "bad_inference" else 413)


def test_a_picture_of_224_pixels_may_be_numbers_in_rows() -> None:
    planes = np.random.default_rng(0).integers(0, 256, (1, 3, 224, 224), dtype=np.uint8)
    for data in (planes.tolist(), planes.flatten().tolist(), planes.reshape(3, -1).tolist()):
        body = json.dumps(one("pixels", [1, 3, 224, 224], "UINT8", data=data)).encode()
        inference, rest = split_body(body, json_part_bytes(len(body), None))
        (picture,) = pictures_of(inference, rest, size=224, max_files=1)
        assert isinstance(picture, Tensor)
        assert picture.dtype == torch.uint8
        assert np.array_equal(picture.numpy(), planes[0])


@pytest.mark.parametrize("coding", ["gzip", "DEFLATE", "identity, br"])
def test_infer_refuses_an_encoded_body(coding: str, bundle: Bundle) -> None:
    response = post(bundle, b"{}", {"content-encoding": coding})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    for plain in ("Identity", ""):
        assert post(bundle, b"{}", {"content-encoding": plain}).json()["code"] == "bad_inference"


def test_infer_returns_400_for_an_unknown_output(bundle: Bundle) -> None:
    document = one("image", [1], "BYTES", **sized(len(ELEMENT))) | {"outputs": [{"name": "logits"}]}
    response = post(bundle, *binary(document, ELEMENT))
    assert (response.status_code, response.json()["code"]) == (400, "bad_inference")


def test_infer_has_the_limits_of_predict(bundle: Bundle) -> None:
    def pictures_request(count: int) -> tuple[bytes, dict[str, str]]:
        data = ELEMENT * count
        return binary(one("image", [count], "BYTES", **sized(len(data))), data)

    assert post(bundle, *pictures_request(2), max_files=2).status_code == 200
    assert post(bundle, *pictures_request(3), max_files=2).json()["code"] == "too_many_files"
    assert post(bundle, *pictures_request(2), max_body_bytes=100).json()["code"] == "body_too_large"
    assert post(bundle, *pictures_request(1), max_pixels=10).json()["code"] == "image_too_large"
    assert post(bundle, b" " * (MAX_JSON_BYTES + 1), {}).json()["code"] == "body_too_large"
    keyed: dict[str, Any] = {"api_keys": hash_of("key-one")}
    assert post(bundle, *pictures_request(1), **keyed).json()["code"] == "key_required"
    body, headers = pictures_request(1)
    assert post(bundle, body, headers | {"x-api-key": "key-one"}, **keyed).status_code == 200


def test_infer_returns_429_503_and_504_as_predict_does(bundle: Bundle, tmp_path: Path) -> None:
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)
    body, headers = binary(one("image", [1], "BYTES", **sized(len(ELEMENT))), ELEMENT)

    async def scene() -> None:
        settings = settings_of(tmp_path, max_waiting=1, deadline_s=0.05)
        async with serving(settings, engine) as (client, state):
            model.armed = True
            late = await client.post(INFER, content=body, headers=headers)
            assert (late.status_code, late.json()["code"]) == (504, "deadline_passed")
            with state.budgets.pictures.reserve(1):
                full = await client.post(INFER, content=b"never read", headers=headers)
            assert (full.status_code, full.json()["code"]) == (429, "overloaded")
            model.gate.set()
        async with serving(settings_of(tmp_path / "none")) as (client, state):
            none = await client.post(INFER, content=body, headers=headers)
            assert (none.status_code, none.json()["error"]) == (503, none.json()["detail"])
            assert (await client.get("/v2/health/live")).json() == {"live": True}
            assert (await client.get("/v2/health/ready")).status_code == 503
            assert (await client.get(f"/v2/models/{NAME}/ready")).status_code == 503
            assert (await client.get(f"/v2/models/{NAME}")).status_code == 503
            state.watchdog.stuck = True
            assert (await client.get("/v2/health/live")).status_code == 503

    wait(scene())


def test_text_in_json_is_named_as_no_picture(address: str) -> None:
    """Base64 is the first thing that one tries."""
    text = base64.b64encode(code_picture(1)).decode()
    document = one("image", [1], "BYTES", data=[text])
    response = httpx.post(f"http://{address}{INFER}", json=document, timeout=WAIT_S)
    problem = bad(response, 400, "bad_inference")
    assert "Base64 is not decoded" in problem["detail"]
    assert "binary_data_size" in problem["detail"]
