"""What a drop of files means."""

import pytest

from studio.pictures.upload_plan import Split, file_in_batch, plan_upload


def labels(*paths: str, **options: object) -> dict[str, str | None]:
    plan = plan_upload(paths, **options)  # type: ignore[arg-type]
    return {path: file.label for path, file in plan.files.items()}


@pytest.mark.parametrize(
    "prefix", ["", "pictures/", "download/pictures/"], ids=["bare", "one around", "two around"]
)
def test_folders_are_classes_whatever_is_around_them(prefix: str) -> None:
    plan = plan_upload([f"{prefix}mask/a.jpg", f"{prefix}mask/x/b.jpg", f"{prefix}no mask/c.png"])
    assert plan.layout == "classes"
    assert [(file.label, file.name) for file in plan.files.values()] == [
        ("mask", "a.jpg"),
        ("mask", "x/b.jpg"),
        ("no mask", "c.png"),
    ]


def test_one_folder_of_pictures_is_a_class() -> None:
    assert labels("mask/a.jpg", "mask/b.jpg") == {"mask/a.jpg": "mask", "mask/b.jpg": "mask"}
    assert labels("mask/a.jpg", "mask/2024/b.jpg")["mask/2024/b.jpg"] == "mask"


def test_a_folder_with_the_name_of_a_class_is_that_class() -> None:
    paths = ["mask/2023/a.jpg", "mask/2024/b.jpg"]
    assert set(labels(*paths).values()) == {"2023", "2024"}
    assert set(labels(*paths, classes=["Mask"]).values()) == {"mask"}


def test_loose_pictures_beside_class_folders_have_no_label() -> None:
    found = labels("set/mask/a.jpg", "set/no_mask/b.jpg", "set/c.jpg")
    assert found == {"set/mask/a.jpg": "mask", "set/no_mask/b.jpg": "no_mask", "set/c.jpg": None}
    plan = plan_upload(["a.jpg", "IMG_0001"])
    assert plan.layout == "flat"
    assert set(plan.to_json()["labels"].values()) == {None}


def test_other_files_are_refused_with_a_reason() -> None:
    plan = plan_upload(
        [
            "mask/a.jpg",
            "mask/.DS_Store",
            "__MACOSX/mask/._a.jpg",
            "mask/Thumbs.db",
            "mask/notes.txt",
            "../../etc/a.jpg",
            "-/b.jpg",
            "labels.csv",
            "slices.csv",
        ]
    )
    assert list(plan.files) == ["mask/a.jpg"]
    assert plan.tables == ["labels.csv"]
    assert plan.refused == {
        "mask/.DS_Store": "hidden or made by the system",
        "__MACOSX/mask/._a.jpg": "hidden or made by the system",
        "mask/Thumbs.db": "hidden or made by the system",
        "mask/notes.txt": "not a picture by its name (.txt)",
        "../../etc/a.jpg": "its name leads out of the folder",
        "-/b.jpg": "No class can be called '-', because it excludes pictures in labels.csv.",
        "slices.csv": "the studio does not read this table",
    }


SPLIT = ["d/train/mask/a.jpg", "d/train/no/b.jpg", "d/valid/mask/c.jpg", "d/test/no/d.jpg"]


def test_a_split_layout_is_recognised() -> None:
    plan = plan_upload(SPLIT)
    assert plan.layout == "split"
    assert plan.to_json()["split"] == {"train": ["d/train"], "test": ["d/test", "d/valid"]}
    assert list(labels(*SPLIT).values()) == ["mask", "no", "mask", "no"]


def test_each_answer_to_the_split_question() -> None:
    train = plan_upload(SPLIT, split="train")
    assert list(train.files) == SPLIT[:2]
    assert train.refused["d/test/no/d.jpg"] == "left out: test is not for training"
    merged = plan_upload(SPLIT, split="merge")
    assert {file.test_set for file in merged.files.values()} == {None}
    kept = plan_upload(SPLIT, split="keep-test")
    assert [file.test_set for file in kept.files.values()] == [None, None, "valid", "test"]
    assert [file.name for file in kept.files.values()] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


@pytest.mark.parametrize("label", ["labels.csv", "Groups.CSV", "_annotations.json", "-", "a\\b"])
def test_folders_that_can_be_no_class_have_a_reason(label: str) -> None:
    found = plan_upload([f"{label}/a.jpg", "other/b.jpg"])
    assert list(found.files) == ["other/b.jpg"]
    assert "No class can be called" in found.refused[f"{label}/a.jpg"]


def test_classes_that_are_called_like_splits_are_classes() -> None:
    assert plan_upload(["test/a.jpg", "other/b.jpg"]).layout == "classes"
    assert plan_upload(["train/a.jpg", "car/b.jpg", "bus/c.jpg"]).layout == "classes"


def test_names_in_another_spelling_and_with_backslashes() -> None:
    found = plan_upload(["mask\\a.jpg", "ma\u0308nner/b.jpg"])
    assert [(one.label, one.name) for one in found.files.values()] == [
        ("mask", "a.jpg"),
        ("m\u00e4nner", "b.jpg"),
    ]


@pytest.mark.parametrize(
    ("path", "label", "split", "expected"),
    [
        ("set/mask/x/a.jpg", "mask", None, ("x/a.jpg", None)),
        ("mask/uncertain/a.jpg", "mask", None, ("uncertain/a.jpg", None)),
        ("other/a.jpg", "mask", None, ("other/a.jpg", None)),
        ("x/a.jpg", None, None, ("x/a.jpg", None)),
        ("my_test/train/mask/a.jpg", "mask", "keep-test", ("a.jpg", None)),
        ("my_test/valid/mask/a.jpg", "mask", "keep-test", ("a.jpg", "valid")),
        ("mask/test/mask/a.jpg", "mask", "train", ("a.jpg", "test")),
        ("test/mask/a.jpg", "mask", "merge", ("a.jpg", None)),
        ("test/a.jpg", None, "keep-test", ("test/a.jpg", "test")),
    ],
)
def test_a_file_of_a_batch_is_what_the_plan_said(
    path: str, label: str | None, split: Split | None, expected: tuple[str, str | None]
) -> None:
    file = file_in_batch(path, path, label, split)
    assert (file.name, file.test_set) == expected
