"""The data's side of the HTTP interface: projects, uploads, verification, versions, formats."""

import asyncio
import errno
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from studio.pictures.blobs import BlobStore
from studio.versions.store import VersionStore
from tests.studio.http.serving import serving, settings_of
from tests.studio.workspace import picture

Scene = Callable[[httpx.AsyncClient], Awaitable[None]]


@pytest.fixture
def play(database_url: str, tmp_path: Path) -> Callable[..., None]:
    """Return a function that runs a scene against a new studio."""

    def run(scene: Scene, **settings: Any) -> None:
        async def start() -> None:
            async with serving(settings_of(tmp_path, database=database_url, **settings)) as (
                client,
                _,
            ):
                await scene(client)

        asyncio.run(start())

    return run


async def make(client: httpx.AsyncClient, name: str = "masks") -> str:
    response = await client.post("/api/projects", json={"name": name})
    assert response.status_code == 201, response.text
    return f"/api/projects/{response.json()['id']}"


async def upload(
    client: httpx.AsyncClient, project: str, files: dict[str, bytes], query: str = ""
) -> dict[str, Any]:
    plan = (await client.post(f"{project}/plan{query}", json={"paths": list(files)})).json()
    response = await client.post(
        f"{project}/pictures{query}",
        files=[("files", (path, data, "image/png")) for path, data in files.items()],
        data={"labels": json.dumps(plan["labels"]), "paths": json.dumps(list(files))},
    )
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


def numbered(**counts: int) -> dict[str, bytes]:
    return {
        f"{label}/{n}.png": picture(f"{label}{n}") for label, m in counts.items() for n in range(m)
    }


async def details(client: httpx.AsyncClient, project: str) -> list[dict[str, Any]]:
    ids = (await client.get(f"{project}/index")).json()["ids"]
    response = await client.get(f"{project}/pictures", params={"ids": ",".join(map(str, ids))})
    found: list[dict[str, Any]] = response.json()["pictures"]
    return found


def test_from_a_drop_to_a_version(play: Callable[..., None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        body = await upload(client, project, numbered(mask=3, no_mask=2) | {"mask/x.png": b"x"})
        assert [one["status"] for one in body["results"]] == ["added"] * 5 + ["refused"]
        assert body["results"][5]["code"] == "unsupported_format"
        assert body["counts"]["pictures"] == 5
        shown = await details(client, project)
        assert {one["label"] for one in shown} == {"mask", "no_mask"}
        first = shown[0]
        for px in (160, 640):
            response = await client.get(f"/api/thumbnails/{first['sha256']}", params={"px": px})
            assert response.headers["content-type"] == "image/jpeg"
            assert "immutable" in response.headers["cache-control"]
        response = await client.get(f"/api/blobs/{first['sha256']}")
        assert hashlib.sha256(response.content).hexdigest() == first["sha256"]
        assert response.headers["content-type"] == "image/png"
        act = {"act": str(uuid4()), "decisions": [
            {"picture": first["id"], "label": "no_mask", "revision": first["revision"]}
        ]}  # fmt: skip
        saved = (await client.post(f"{project}/decisions", json=act)).json()
        assert saved == {
            "saved": [{"picture": first["id"], "label": "no_mask", "revision": 2}],
            "conflicts": [],
        }
        assert (await client.post(f"{project}/decisions", json=act)).json() == saved
        stale = act | {"act": str(uuid4())}
        (conflict,) = (await client.post(f"{project}/decisions", json=stale)).json()["conflicts"]
        assert (conflict["label"], conflict["revision"]) == ("no_mask", 2)
        assert conflict["by"]
        made = await client.post(f"{project}/versions", json={"note": "first"})
        assert (made.status_code, made.json()["created"]) == (201, True)
        assert (await client.post(f"{project}/versions")).status_code == 200
        described = (await client.get(project)).json()
        assert described["latest_version"] == made.json()["id"]
        assert described["counts"]["changed"] == 0
        undone = await client.post(f"{project}/undo", json={"act": act["act"], "id": str(uuid4())})
        assert undone.json()["saved"] == [{"picture": first["id"], "label": "mask", "revision": 3}]
        described = (await client.get(project)).json()
        assert described["counts"]["changed"] == 1
        second = (await client.post(f"{project}/versions")).json()
        listed = (await client.get(f"{project}/versions")).json()["versions"]
        assert [(one["id"], one["note"], one["runs"]) for one in listed] == [
            (second["id"], "", []),
            (made.json()["id"], "first", []),
        ]
        diff = await client.get(f"{project}/versions/{made.json()['id']}/diff/{second['id']}")
        assert diff.json()["relabelled"] == [{"picture": first["id"], "a": "no_mask", "b": "mask"}]
        restored = await client.post(f"{project}/versions/{made.json()['id']}/restore")
        assert restored.json() == {"changed": 1}
        acts = (await client.get(f"{project}/acts")).json()["acts"]
        assert [one["kind"] for one in acts] == ["restore", "undo", "decide", "import"]
        assert acts[1]["undoes"] == act["act"]
        assert acts[2]["undone"]
        older = await client.get(f"{project}/acts", params={"limit": 1, "before": acts[2]["key"]})
        assert [one["kind"] for one in older.json()["acts"]] == ["import"]

    play(scene)


def test_an_upload_that_was_cut_goes_on_where_it_was(play: Callable[..., None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        files = numbered(mask=20)
        drop = f"?drop={uuid4()}"
        await upload(client, project, dict(list(files.items())[:10]), drop)
        listed = [
            {"path": path, "label": "mask", "sha256": hashlib.sha256(data).hexdigest()}
            for path, data in files.items()
        ]
        body = (await client.post(f"{project}/uploads/check{drop}", json={"files": listed})).json()
        assert (len(body["known"]), len(body["missing"])) == (10, 10)
        assert {one["status"] for one in body["results"]} == {"duplicate"}
        missing = {
            path: data
            for path, data in files.items()
            if hashlib.sha256(data).hexdigest() in body["missing"]
        }
        body = await upload(client, project, missing, drop)
        assert body["counts"]["pictures"] == 20
        (act,) = (await client.get(f"{project}/acts")).json()["acts"]
        assert act["pictures"] == 20
        body = (await client.post(f"{project}/uploads/check", json={"files": listed})).json()
        assert body["missing"] == []  # the same folder again: nothing is sent
        other = await make(client, "other")
        body = (await client.post(f"{other}/uploads/check", json={"files": listed})).json()
        assert {one["status"] for one in body["results"]} == {"added"}

    play(scene)


def test_a_zip_goes_out_and_comes_in_again(play: Callable[..., None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        await upload(client, project, numbered(mask=3, no_mask=2) | {"l.png": picture("loose")})
        shown = await details(client, project)
        await client.post(
            f"{project}/decisions",
            json={
                "act": str(uuid4()),
                "decisions": [
                    {"picture": shown[0]["id"], "label": "no_mask", "revision": 1},
                    {"picture": shown[1]["id"], "label": "-", "revision": 1},
                ],
            },
        )
        await client.post(
            f"{project}/groups", json={"pictures": [one["id"] for one in shown[:2]], "group": "eva"}
        )
        version = (await client.post(f"{project}/versions")).json()
        export = f"{project}/versions/{version['id']}/export"
        packed = await client.get(export)
        assert packed.headers["content-type"] == "application/zip"
        assert (await client.get(export)).content == packed.content
        names = zipfile.ZipFile(io.BytesIO(packed.content)).namelist()
        assert {"labels.csv", "groups.csv", "l.png"} < set(names)
        again = await make(client, "again")
        body = (await client.post(f"{again}/archive", content=packed.content)).json()
        assert (body["added"], body["refused"]) == (6, 0)

        one, two = await details(client, project), await details(client, again)
        key = ("sha256", "label", "group", "judged")
        assert sorted(tuple(str(x[k]) for k in key) for x in one) == sorted(
            tuple(str(x[k]) for k in key) for x in two
        )

    play(scene)


@pytest.mark.parametrize("format", ["label-studio", "cloud-annotations"])
def test_labels_go_out_and_come_in_again(play: Callable[..., None], format: str) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        await upload(client, project, numbered(mask=2, no_mask=2) | {"l.png": picture("loose")})
        first = (await details(client, project))[0]
        await client.post(
            f"{project}/decisions",
            json={
                "act": str(uuid4()),
                "decisions": [{"picture": first["id"], "label": "-", "revision": 1}],
            },
        )
        version = (await client.post(f"{project}/versions")).json()
        export = await client.get(
            f"{project}/versions/{version['id']}/export", params={"format": format}
        )
        again = await make(client, "again")
        flat = {
            f"{number}/{path}": data
            for number, (path, data) in enumerate(
                (numbered(mask=2, no_mask=2) | {"l.png": picture("loose")}).items()
            )
        }
        await client.post(
            f"{again}/pictures",
            files=[("files", (path, data, "image/png")) for path, data in flat.items()],
            data={"paths": json.dumps(list(flat))},
        )
        assert (await client.get(again)).json()["counts"]["unlabelled"] == 5
        body = await client.post(
            f"{again}/import", params={"format": format}, content=export.content
        )
        assert body.json()["unmatched"] == []

        def labels(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
            return sorted((one["sha256"], str(one["label"])) for one in found)

        assert labels(await details(client, again)) == labels(await details(client, project))

    play(scene)


async def expect(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_errors_are_problem_documents(play: Callable[..., None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        await upload(client, project, numbered(mask=1))
        post = client.post
        await expect(await post("/api/projects", json={"name": " MASKS "}), 409, "project_exists")
        await expect(await post("/api/projects", json={"name": ""}), 400, "bad_name")
        await expect(await post("/api/projects", json={"name": "a\u202eb"}), 400, "bad_name")
        await expect(await client.get("/api/projects/77/index"), 404, "not_found")
        await expect(await client.get(f"{project}/pictures?ids=a"), 400, "bad_request")
        await expect(
            await client.get(f"{project}/pictures?ids={'1,' * 401}"), 413, "too_many_files"
        )
        await expect(await client.get(f"{project}/index?label=rain"), 400, "unknown_class")
        await expect(await client.get(f"{project}/index?order=up"), 400, "bad_request")
        await expect(await post(f"{project}/classes", json={"name": "Mask"}), 409, "class_exists")
        await expect(await post(f"{project}/classes", json={"name": "-"}), 400, "bad_name")
        await expect(await post(f"{project}/classes", json={"name": "a/b"}), 400, "bad_name")
        await expect(await post(f"{project}/undo", json={"act": "1"}), 400, "bad_request")
        await expect(await post(f"{project}/undo", json={"act": str(uuid4())}), 404, "not_found")
        await expect(await post(f"{project}/groups", json={"pattern": "("}), 400, "bad_pattern")
        await expect(await post(f"{project}/groups", json={}), 400, "bad_request")
        await expect(await post(f"{project}/archive", content=b"x"), 400, "bad_archive")
        await expect(await post(f"{project}/pictures", content=b"x"), 415, "unsupported_media_type")
        await expect(
            await post(
                f"{project}/pictures",
                content=b"--x\r\nnonsense",
                headers={"content-type": "multipart/form-data; boundary=x"},
            ),
            400,
            "bad_upload",
        )
        one = [("files", ("a.png", b"x"))]
        for labels in ("{", "[]", '{"a.png": 1}'):
            response = await post(f"{project}/pictures", files=one, data={"labels": labels})
            assert response.status_code == 400, labels
        await expect(await post(f"{project}/pictures", files=one * 65), 413, "too_many_files")
        await expect(await post(f"{project}/pictures", files=one * 2), 400, "bad_request")
        await expect(
            await post(f"{project}/tables?kind=labels", content=b"a,b\n1,2\n"), 400, "bad_table"
        )
        for body in (b"{", b"{}", b"[1]", b'[{"data": {}}]'):
            await expect(
                await post(f"{project}/import?format=label-studio", content=body), 400, "bad_table"
            )
        detection = b'{"type": "localization", "annotations": {}}'
        await expect(
            await post(f"{project}/import?format=cloud-annotations", content=detection),
            400,
            "bad_table",
        )
        await expect(await client.get(f"/api/blobs/{'0' * 64}"), 404, "not_found")
        await expect(await client.get("/api/blobs/..%2f..%2fetc"), 404, "not_found")
        await expect(await client.get(f"/api/thumbnails/{'0' * 64}?px=5"), 400, "bad_request")
        await expect(await client.get(f"{project}/versions/9/diff/8"), 404, "not_found")
        await expect(await post(f"{project}/versions/9/restore"), 404, "not_found")

    play(scene)


def test_no_text_or_number_makes_the_studio_fail(play: Callable[..., None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        await upload(client, project, numbered(mask=1))
        (shown,) = await details(client, project)
        version = (await client.post(f"{project}/versions")).json()["id"]
        texts = ["\x00", "\\ud800", "\u202e", "\U0001f600" * 90, "a" * 5000, "../..", "'; --", "%"]
        numbers = [0, -1, 2**31, 2**63, 10**30]
        requests = [("GET", f"/api/projects/{n}/index", "") for n in numbers]
        requests += [("POST", f"{project}/versions/{n}/restore", "") for n in numbers]
        requests += [("GET", f"{project}/versions/{version}/diff/{n}", "") for n in numbers]
        requests += [("GET", f"{project}/pictures?ids={n}", "") for n in numbers]
        requests += [("GET", f"{project}/acts?before={n}&limit={n}", "") for n in numbers]
        for n in numbers:
            body = f'{{"picture": {n}, "label": "mask", "revision": {n}}}'
            act = f'{{"act": "{uuid4()}", "decisions": [{body}]}}'
            requests.append(("POST", f"{project}/decisions", act))
        for text in texts:
            quoted = f'"{text}"' if text.startswith("\\u") else json.dumps(text)
            requests += [
                ("POST", "/api/projects", f'{{"name": {quoted}}}'),
                ("POST", f"{project}/classes", f'{{"name": {quoted}}}'),
                ("PATCH", f"{project}/classes/mask", f'{{"name": {quoted}}}'),
                ("POST", f"{project}/groups", f'{{"pattern": {quoted}}}'),
                ("POST", f"{project}/groups", f'{{"pictures": [1], "group": {quoted}}}'),
                ("POST", f"{project}/plan", f'{{"paths": [{quoted}]}}'),
                ("POST", f"{project}/undo", f'{{"act": {quoted}}}'),
                ("POST", f"{project}/versions", f'{{"note": {quoted}}}'),
                ("POST", f"{project}/tables?kind=labels", f"file,label\na.png,{text}\n"),
                ("POST", f"{project}/import?format=cloud-annotations",
                 f'{{"annotations": {{{quoted}: [{{"label": {quoted}}}]}}}}'),
            ]  # fmt: skip
            decision = f'{{"picture": {shown["id"]}, "label": {quoted}, "revision": 1}}'
            act = f'{{"act": "{uuid4()}", "decisions": [{decision}]}}'
            requests.append(("POST", f"{project}/decisions", act))
            if not text.startswith("\\u"):
                for name in ("label", "filter", "order"):
                    query = str(httpx.QueryParams({name: text}))
                    requests.append(("GET", f"{project}/index?{query}", ""))
        for method, path, content in requests:
            response = await client.request(
                method, path, content=content.encode() or None,
                headers={"content-type": "application/json"},
            )  # fmt: skip
            assert response.status_code < 500, (method, path, content, response.text)
            json.loads(response.content)

    play(scene)


def test_a_removed_project_is_gone_and_its_name_is_free(play: Callable[..., None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        renamed = await client.patch(project, json={"name": "Other"})
        assert renamed.json()["name"] == "Other"
        assert (await client.delete(project)).status_code == 204
        await expect(await client.get(project), 404, "not_found")
        assert (await client.get("/api/projects")).json() == {"projects": []}
        await make(client, "other")

    play(scene)


def test_classes_and_groups(play: Callable[..., None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        await upload(client, project, numbered(mask=2))
        assert (await client.post(f"{project}/classes", json={"name": "rain"})).json() == {
            "name": "rain"
        }
        await client.patch(f"{project}/classes/mask", json={"name": "Maske \u00e4"})
        names = [one["name"] for one in (await client.get(project)).json()["classes"]]
        assert names == ["Maske \u00e4", "rain"]
        preview = {"pattern": r"(\d)", "preview": True}
        body = (await client.post(f"{project}/groups", json=preview)).json()
        assert [(one["group"], one["count"]) for one in body["groups"]] == [("0", 1), ("1", 1)]
        body = (await client.post(f"{project}/groups", json={"pattern": r"(\d)"})).json()
        assert {one["group"] for one in await details(client, project)} == {"0", "1"}
        await client.post(f"{project}/undo", json={"act": body["act"]})
        assert {one["group"] for one in await details(client, project)} == {None}

    play(scene)


def test_a_split_is_uploaded_as_the_answer_says(play: Callable[..., None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        files = {
            f"d/{split}/{label}/{n}.png": picture(f"{split}{label}{n}")
            for split in ("train", "test")
            for label in ("mask", "no")
            for n in range(2)
        }
        for split, expected in (("train", (4, 0)), ("merge", (8, 0)), ("keep-test", (8, 4))):
            project = await make(client, split)
            await upload(client, project, files, f"?split={split}")
            counts = (await client.get(project)).json()["counts"]
            assert (counts["pictures"], counts["test"]) == expected
            assert {one["label"] for one in await details(client, project)} == {"mask", "no"}

    play(scene)


BEYOND = ("-1", f"-{10**30}", str(10**30), str(2**31))


@pytest.mark.parametrize("number", BEYOND)
def test_numbers_that_are_no_ids_are_not_found(play: Callable[..., None], number: str) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        for path in (
            f"/api/projects/{number}",
            f"/api/projects/{number}/jobs",
            f"{project}/versions/{number}",
            f"/api/jobs/{number}",
            f"/api/runs/{number}",
            f"/api/runs/{number}/compare/{number}",
            f"/api/live/gate?run={number}",
        ):
            response = await client.get(path)
            assert (response.status_code, response.json()["code"]) == (404, "not_found"), path
        response = await client.get(f"{project}/pictures?ids=1,{number}{'9' * 4400}")
        assert (response.status_code, response.json()["code"]) == (400, "bad_request")

    play(scene)


@pytest.mark.parametrize(
    "path", ["/", "/api/projects", "{project}", "/livez", "/api/nothing", "/api/jobs/7"]
)
def test_head_is_answered_as_get_without_the_body(play: Callable[..., None], path: str) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        address = path.format(project=await make(client))
        get, head = await client.get(address), await client.head(address)
        assert head.status_code == get.status_code
        assert head.content == b""
        names = ("content-type", "content-length", "content-security-policy", "cache-control")
        for name in names:
            assert head.headers.get(name) == get.headers.get(name)

    play(scene)


@pytest.mark.parametrize("wanted", [None, "bytes=x", "lines=1-2", "bytes=0-1,3-4"])
def test_files_are_answered_whole_and_leave_nothing(
    play: Callable[..., None], tmp_path: Path, wanted: str | None
) -> None:
    """Several ranges may be ignored (RFC 9110, 14.2), and a Range that is none must be."""
    headers = {} if wanted is None else {"Range": wanted}

    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        files = numbered(mask=2, no_mask=2)
        added = (await upload(client, project, files))["results"]
        version = (await client.post(f"{project}/versions")).json()["id"]
        blob = await client.get(f"/api/blobs/{added[0]['sha256']}", headers=headers)
        assert (blob.status_code, blob.content) == (200, files["mask/0.png"])
        assert blob.headers["content-type"] == "image/png"
        assert int(blob.headers["content-length"]) == len(blob.content)
        for method in ("GET", "HEAD"):
            export = await client.request(
                method, f"{project}/versions/{version}/export", headers=headers
            )
            assert export.status_code == 200
            assert export.headers["content-disposition"] == 'attachment; filename="masks-v1.zip"'
        assert list((tmp_path / "data" / "incoming").iterdir()) == []

    play(scene)


def test_a_cut_download_goes_on_where_it_was(play: Callable[..., None], tmp_path: Path) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        added = (await upload(client, project, numbered(mask=2, no_mask=2)))["results"]
        version = (await client.post(f"{project}/versions")).json()["id"]
        for path in (
            f"/api/blobs/{added[0]['sha256']}",
            f"{project}/versions/{version}/export",
        ):
            whole = await client.get(path)
            assert whole.headers["accept-ranges"] == "bytes"
            size = len(whole.content)
            headers = {"Range": "bytes=100-", "If-Range": whole.headers["etag"]}
            rest = await client.get(path, headers=headers)
            assert (rest.status_code, rest.content) == (206, whole.content[100:])
            assert rest.headers["content-range"] == f"bytes 100-{size - 1}/{size}"
            changed = await client.get(path, headers=headers | {"If-Range": '"another"'})
            assert (changed.status_code, changed.content) == (200, whole.content)
            beyond = await client.get(path, headers={"Range": f"bytes={size}-"})
            assert beyond.status_code == 416
        assert list((tmp_path / "data" / "incoming").iterdir()) == []

    play(scene)


def test_a_removed_project_frees_its_pictures_but_not_those_of_others(
    play: Callable[..., None], tmp_path: Path
) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        first = await make(client)
        files = numbered(mask=3, no_mask=2)
        added = (await upload(client, first, files))["results"]
        second = (
            f"/api/projects/{(await client.post('/api/projects', json={'name': 'b'})).json()['id']}"
        )
        shared = {"mask/0.png": files["mask/0.png"]}
        await upload(client, second, shared)
        assert (await client.get(f"/api/thumbnails/{added[1]['sha256']}?px=640")).status_code == 200
        assert (await client.delete(first)).status_code == 204
        kept = added[0]["sha256"]
        data = tmp_path / "data"
        assert [path.name for path in data.glob("blobs/*/*")] == [kept]
        assert {path.stem for path in data.glob("thumbnails/*/*/*")} == {kept}
        assert (await client.get(f"/api/blobs/{kept}")).status_code == 200
        gone = f"/api/blobs/{added[1]['sha256']}"
        assert (await client.get(gone)).status_code == 404
        again = await upload(client, second, files)
        assert [one["status"] for one in again["results"]] == ["duplicate"] + ["added"] * 4
        assert (await client.get(gone)).status_code == 200

    play(scene)


def test_pictures_of_a_removed_project_that_a_disk_keeps_are_freed_by_the_next_start(
    play: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    async def remove(client: httpx.AsyncClient) -> None:
        project = await make(client)
        await upload(client, project, numbered(mask=2))
        with monkeypatch.context() as patch:
            patch.setattr(BlobStore, "delete", fail)
            assert (await client.delete(project)).status_code == 204
        assert (await client.get(project)).status_code == 404
        assert len(list((tmp_path / "data").glob("blobs/*/*"))) == 2

    async def look(client: httpx.AsyncClient) -> None:
        assert list((tmp_path / "data").glob("blobs/*/*")) == []

    play(remove)
    play(look)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_nothing_has_a_reason(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    async def scene(client: httpx.AsyncClient) -> None:
        project = await make(client)
        version = (await client.post(f"{project}/versions")).json()["id"]
        monkeypatch.setattr(BlobStore, "incoming", fail)
        monkeypatch.setattr(VersionStore, "write", fail)
        await client.post(f"{project}/classes", json={"name": "new"})
        for response in (
            await client.get(f"{project}/versions/{version}/export"),
            await client.post(f"{project}/archive", content=b"x"),
            await client.post(f"{project}/versions"),
        ):
            assert (response.status_code, response.json()["code"]) == (507, "disk_full")
            assert os.strerror(number) in response.json()["detail"]

    play(scene)
