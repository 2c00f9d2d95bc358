"""Label Studio's JSON: a list of tasks, each with the address of a picture and its annotations.

    [{"data": {"image": "/data/upload/1/a.jpg"},
      "annotations": [{"result": [{"type": "choices", "from_name": "label", "to_name": "image",
                                   "value": {"choices": ["mask"]}}]}]}]

Reads exports as JSON and as JSON-MIN (`[{"image": ..., "label": "mask"}]`). Writes the format that
Label Studio imports, for a project with this configuration:

    <View><Image name="image" value="$image"/>
      <Choices name="label" toName="image"><Choice value="mask"/>...</Choices></View>
"""

from collections.abc import Mapping
from typing import Any, Final

from studio.formats.matching import name_of_address
from studio.problems import BadTable
from studio.projects.classes import LEFT_OUT
from studio.versions.manifest import Manifest
from studio.versions.tree import Tree

_CHOICES: Final = "choices"
_FROM_NAME: Final = "label"
_TO_NAME: Final = "image"
# Characters that would end a path in an address, or begin another part of it.
_QUOTED: Final = str.maketrans({char: f"%{ord(char):02X}" for char in "%?#:"})
_PICTURE_FIELDS: Final = ("image", "img", "picture", "photo", "file", "url")


def read_label_studio(document: Any) -> dict[str, str | None]:
    """Return label by name of picture; None for pictures without an annotation.

    Of several annotations, the last one that is not cancelled counts; a task whose only
    annotations are cancelled (skipped) is left out.

    Raises:
        BadTable: It is not a list of tasks, or a picture has several choices.
    """
    if not isinstance(document, list) or not all(isinstance(task, Mapping) for task in document):
        raise BadTable("Label Studio's JSON is a list of tasks.")
    found: dict[str, str | None] = {}
    for number, task in enumerate(document, start=1):
        data = task.get("data", task)
        if not isinstance(data, Mapping) or (address := _address(data)) is None:
            raise BadTable(f"Task {number} names no picture: its data needs the field 'image'.")
        name = name_of_address(address)
        label = _label(task, number) if "data" in task else _short_label(task, number)
        known = found.get(name)
        if None not in (known, label) and known != label:
            raise BadTable(
                f"Task {number} gives {name} another label than a task before: keep one."
            )
        found[name] = label if known is None else known
    return found


def write_label_studio(manifest: Manifest, tree: Tree) -> list[dict[str, Any]]:
    """Return the tasks of a version.

    Args:
        manifest: The version.
        tree: Its files: a picture's address is its path there, quoted.
    """
    entries = {one.sha256: one for one in manifest.entries}
    tasks = []
    for number, (path, sha256) in enumerate(tree.files.items(), start=1):
        entry = entries[sha256]
        annotations = []
        if entry.shown_label is not None:
            result = [
                {
                    "id": sha256[:10],
                    "type": _CHOICES,
                    "from_name": _FROM_NAME,
                    "to_name": _TO_NAME,
                    "value": {_CHOICES: [entry.label]},
                }
            ]
            annotations.append(
                {
                    "result": result if entry.label is not None else [],
                    "was_cancelled": entry.left_out,
                }
            )
        meta = {"sha256": sha256, "group": entry.group}
        tasks.append(
            {
                "id": number,
                "data": {_TO_NAME: path.translate(_QUOTED)},
                "meta": {name: value for name, value in meta.items() if value is not None},
                "annotations": annotations,
            }
        )
    return tasks


def _address(data: Mapping[str, Any]) -> str | None:
    """Return the address of a task's picture."""
    for field in (*_PICTURE_FIELDS, *data):
        value = data.get(field)
        if isinstance(value, str) and (field in _PICTURE_FIELDS or "/" in value):
            return value
    return None


def _label(task: Mapping[str, Any], number: int) -> str | None:
    """Return the label of a task of an export as JSON."""
    annotations = task.get("annotations", task.get("completions", []))
    if not isinstance(annotations, list):
        raise BadTable(f"Task {number}: annotations is not a list.")
    kept = [one for one in annotations if isinstance(one, Mapping)]
    valid = [one for one in kept if not one.get("was_cancelled")]
    if not valid:
        return LEFT_OUT if kept else None
    choices: list[Any] = []
    results = valid[-1].get("result") or []
    if not isinstance(results, list):
        raise BadTable(f"Task {number}: the result of an annotation is not a list.")
    for result in results:
        if isinstance(result, Mapping) and result.get("type") == _CHOICES:
            choices += _choices_of(result.get("value"))
    return _one(choices, number)


def _short_label(task: Mapping[str, Any], number: int) -> str | None:
    """Return the label of a task of an export as JSON-MIN."""
    for field in ("choice", "label", "class", "choices"):
        if field in task:
            return _one(_choices_of(task[field]), number)
    return None


def _choices_of(value: Any) -> list[Any]:
    """Return the choices of a value, which are a list, or one alone."""
    if isinstance(value, Mapping):
        value = value.get(_CHOICES)
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _one(choices: list[Any], number: int) -> str | None:
    if len(choices) > 1:
        raise BadTable(f"Task {number} has several choices: a picture has one class here.")
    if choices and not isinstance(choices[0], str):
        raise BadTable(f"Task {number}: a choice is not a text.")
    return choices[0] if choices else None
