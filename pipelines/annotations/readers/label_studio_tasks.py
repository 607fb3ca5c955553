"""Reads the tasks of Label Studio's files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.annotations.json_files import load
from pipelines.errors import DataError


@dataclass
class Task:
    """A task: an image that people annotated.

    Attributes:
        path: The file.
        file: The same as a relative path with forward slashes.
        split: The split that the file's path names.
        id: The number of the task.
        data: What the user uploaded, such as `{"image": "/data/upload/1/ab12cd34-a.jpg"}`.
        upload: The name of the uploaded file.
        annotations: Finished annotations, without those that were cancelled.
        cancelled: The number of those.
        has_predictions: Whether a model annotated it too.
    """

    path: Path
    file: str
    split: str | None
    id: Any
    data: dict[str, Any]
    upload: Any = None
    annotations: list[dict[str, Any]] = field(default_factory=list)
    cancelled: int = 0
    has_predictions: bool = False


def tasks_of(path: Path, file: str, split: str | None) -> list[Task]:
    """Reads a file: an export, or what Label Studio writes into cloud storage for each annotation.

    Raises:
        DataError: It cannot be read, or has another form.
    """
    content = load(path)
    tasks: dict[Any, Task] = {}
    for number, entry in enumerate(content if isinstance(content, list) else [content]):
        if not isinstance(entry, dict):
            raise wrong(path, f"entry {number} is {entry!r:.100}, not a task")
        task = _task(path, file, split, entry)
        key = task.id if isinstance(task.id, str | int) else number
        if key in tasks and "annotation_id" in entry:  # JSON-MIN has an entry for each annotation.
            tasks[key].annotations += task.annotations
        elif key in tasks:
            raise wrong(path, f"two tasks have the id {key!r:.100}")
        else:
            tasks[key] = task
    return list(tasks.values())


def wrong(path: Path, reason: str) -> DataError:
    """Builds the error for a file of another form."""
    return DataError(
        f"{path}: {reason}. Export it again as JSON, or correct it.",
        kind="wrong Label Studio file",
        file=path,
    )


def _task(path: Path, file: str, split: str | None, entry: dict[str, Any]) -> Task:
    if "annotation_id" in entry and "data" not in entry:
        return _task_of_min(path, file, split, entry)
    if isinstance(entry.get("task"), dict) and "result" in entry:  # One annotation, in storage.
        entry = {**entry["task"], "annotations": [entry]}
    data = entry.get("data")
    if not isinstance(data, dict):
        raise wrong(path, f"the task {entry.get('id')!r:.50} has no `data`")
    given = entry.get("annotations", entry.get("completions", []))
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise wrong(path, f"the `annotations` of task {entry.get('id')!r:.50} are no objects")
    for one in given:
        if not isinstance(one.get("result", []), list):
            raise wrong(path, f"an annotation of task {entry.get('id')!r:.50} has no list `result`")
    kept = [one for one in given if not (one.get("was_cancelled") or one.get("skipped"))]
    predictions = bool(entry.get("predictions"))
    upload = entry.get("file_upload")
    return Task(
        path, file, split, entry.get("id"), data, upload, kept, len(given) - len(kept), predictions
    )


def _task_of_min(path: Path, file: str, split: str | None, entry: dict[str, Any]) -> Task:
    """Reads an entry of JSON-MIN, whose regions are lists under the names of the controls."""
    values = [v for key in entry.values() if isinstance(key, list) for v in key]
    results = [
        {"value": value, **{k: value[k] for k in SIZES if k in value}}
        for value in values
        if isinstance(value, dict)
    ]
    annotation = {"result": results, "completed_by": entry.get("annotator")}
    return Task(path, file, split, entry.get("id"), entry, None, [annotation])


SIZES = ("original_width", "original_height", "image_rotation", "id")
