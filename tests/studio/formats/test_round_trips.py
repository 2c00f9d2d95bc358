"""Projects of other tools move over with their labels."""

import json
import re
import zipfile
from pathlib import Path

from sqlalchemy import select

from studio.database.tables import pictures
from studio.formats.archive import import_zip
from studio.formats.cloud_annotations import read_cloud_annotations, write_cloud_annotations
from studio.formats.export import write_folder, write_zip
from studio.formats.label_studio import read_label_studio, write_label_studio
from studio.formats.matching import Names, apply_values
from studio.pictures.examine import Limits
from studio.pictures.intake import IncomingFile, add_files
from studio.pictures.upload_plan import PlannedFile
from studio.versions import versions
from studio.versions.folder import materialise_present
from studio.versions.tree import export_tree
from tests.studio.workspace import Workspace, picture


def test_an_ibm_project_moves_over_with_its_labels(workspace: Workspace, tmp_path: Path) -> None:
    """An export of Cloud Annotations or CV Studio is a zip of pictures with one JSON file."""
    names = [f"{n}.png" for n in range(5)]
    annotations = {
        "type": "classification",
        "labels": ["mask", "no_mask"],
        "annotations": {
            name: [{"label": "mask" if n % 2 else "no_mask"}] for n, name in enumerate(names[:4])
        },
    }
    path = tmp_path / "project.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, picture(name))
        archive.writestr("_annotations.json", json.dumps(annotations))
    summary = import_zip(
        workspace.database,
        workspace.blobs,
        workspace.project,
        path,
        by="ann",
        limits=Limits(),
        max_files=100,
        max_bytes=10**7,
    )
    assert summary.counts == {"added": 5}
    assert summary.tables["_annotations.json"].changed == 4
    found = workspace.describe()
    assert [one["pictures"] for one in found["classes"]] == [2, 2]
    assert found["counts"]["unlabelled"] == 1


def test_a_label_studio_project_moves_over_with_its_labels(workspace: Workspace) -> None:
    workspace.add({"a.png": picture("a"), "sub/b.png": picture("b"), "other/b.png": picture("c")})
    tasks = [
        {
            "data": {"image": address},
            "annotations": [{"result": [{"type": "choices", "value": {"choices": ["mask"]}}]}],
        }
        for address in (
            "/data/upload/3/1f2e3d4c-a.png",  # the prefix is Label Studio's
            "/data/local-files/?d=sub/b.png",
            "/data/upload/3/b.png",  # two have this name
            "/data/upload/3/gone.png",
        )
    ]
    applied = apply_values(
        workspace.database,
        workspace.project,
        "labels",
        read_label_studio(tasks),
        by="ann",
        source="label-studio",
    )
    assert applied.changed == 2
    assert applied.unmatched == ["/data/upload/3/b.png", "/data/upload/3/gone.png"]
    labels = [workspace.picture(id)["label"] for id in workspace.ids()]
    assert sorted(labels) == ["mask", "mask", "other"]


def test_a_label_that_cannot_be_used_is_refused_and_the_others_count(
    workspace: Workspace,
) -> None:
    workspace.add({"a.png": picture("a"), "b.png": picture("b")})
    applied = apply_values(
        workspace.database,
        workspace.project,
        "labels",
        {"a.png": "uncertain", "b.png": "mask"},
        by="ann",
        source="labels.csv",
    )
    assert applied.changed == 1
    assert applied.refused[0][0] == "a.png"
    assert "uncertain" in applied.refused[0][1]


def test_rows_that_contradict_each_other_have_reasons(workspace: Workspace) -> None:
    workspace.add({"sub/\u00e4.png": picture("a")})
    applied = apply_values(
        workspace.database,
        workspace.project,
        "labels",
        {"sub/a\u0308.png": "mask", "\u00e4.png": "no_mask"},  # macOS writes the first one
        by="ann",
        source="label-studio",
    )
    assert applied.changed == 1
    assert applied.unmatched == []
    assert applied.refused == [("\u00e4.png", "another row gives the same picture mask")]


def test_names_of_files_survive_an_export(workspace: Workspace, tmp_path: Path) -> None:
    names = ["A.png", "a.png", f"{'n' * 250}.png", "\u00e4 \U0001f600.png"]
    workspace.add({f"mask/{name}": picture(name) for name in names})
    version = versions.create(workspace.database, workspace.versions, workspace.project, by="ann")
    manifest = workspace.versions.read(version.digest)
    assert write_folder(manifest, workspace.blobs, tmp_path / "out") == 4
    found = (tmp_path / "out").rglob("*.png")
    files = [path.relative_to(tmp_path / "out").as_posix() for path in found]
    assert len({name.casefold() for name in files}) == 4
    assert all(len(part.encode()) <= 255 for name in files for part in name.split("/"))
    with open(tmp_path / "out.zip", "wb") as handle:
        write_zip(manifest, workspace.blobs, handle)
    names_in_zip = zipfile.ZipFile(tmp_path / "out.zip").namelist()
    assert sorted(names_in_zip) == sorted(files)


NAMES = (
    "mask/x.png",
    "mask/x.png/y.png",  # two drops: a file of the first is a folder in the second
    "x.png/z.png",
    "x.png",
    "mask/..\\..\\evil.png",  # leads out of the folder on Windows
    "mask/CON.png",
    "mask/nul/a.png",
    "mask/a:b?.png",
    "mask/a .png",
    "mask/ends. /b.png",
    "mask/MASK.PNG",
    "mask/mask.png",
    f"mask/{'n' * 250}.png",
    "a:b/c#d%20.png",
    "loose~.png",
)


def test_all_names_can_be_written_and_are_found_again(workspace: Workspace, tmp_path: Path) -> None:
    incoming = [
        IncomingFile(
            PlannedFile(name, *(name.split("/", 1)[::-1] if "/" in name else (name, None))),
            picture(name),
        )
        for name in NAMES
    ]
    add_files(
        workspace.database, workspace.blobs, workspace.project, incoming, by="ann", limits=Limits()
    )
    folder = materialise_present(
        workspace.database, workspace.blobs, workspace.project, tmp_path / "training"
    )
    assert len(folder.files) == len(NAMES) - 2  # those without a label are not trained on
    version = versions.create(workspace.database, workspace.versions, workspace.project, by="ann")
    manifest = workspace.versions.read(version.digest)
    assert write_folder(manifest, workspace.blobs, tmp_path / "out") == len(NAMES)
    tree = export_tree(manifest)
    assert len({path.casefold() for path in tree.files}) == len(NAMES)
    for path in tree.files:
        below = path.removeprefix("a:b/")  # a label is a folder under its own name
        assert not re.search(r'[\\:*?"<>|]|(^|/)(con|nul)(\.|/|$)|[. ](/|$)', below, re.I), path
    rows = workspace.ids()
    with workspace.database.read() as connection:
        found = Names(connection.execute(select(pictures)).all())
    digests = {workspace.picture(id)["sha256"]: id for id in rows}
    for path, sha256 in tree.files.items():
        assert found.find(path) == digests[sha256], path
    labels = {digests[one.sha256]: one.label for one in manifest.entries}
    for read, document in (
        (read_label_studio, write_label_studio(manifest, tree)),
        (read_cloud_annotations, write_cloud_annotations(manifest, tree)),
    ):
        read_again = {found.find(name): label for name, label in read(document).items()}
        assert read_again == labels
