"""Chooses whose annotations of Label Studio's tasks count."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.annotations.readers.label_studio_tasks import Task
from pipelines.errors import DataError

UNKNOWN = "unknown"


@dataclass
class Choice:
    """A task and the results that count."""

    task: Task
    results: list[Any]


def choose(
    tasks: list[Task],
    annotator: str | None,
    root: Path,
    faults: list[DataError],
    notes: list[str],
) -> list[Choice]:
    """Chooses one annotation of each task; tasks without any are left out, told in `notes`.

    Args:
        tasks: The tasks.
        annotator: The id or e-mail of the person whose annotations count; None if there is only
            one annotation of each task.
        root: The source, for messages.
        faults: Gets the faults of tasks that the person annotated twice.
        notes: Gets what was left out.

    Raises:
        DataError: A task has several annotations, or the person has none.
    """
    people = Counter(_name(one) for task in tasks for one in task.annotations)
    if annotator is not None and not any(_is_by(name, annotator) for name in people):
        raise DataError(
            f"--annotator {annotator}: nobody of that name annotated {root}; there are "
            f"{_listed(people)}."
        )
    chosen: list[Choice] = []
    left_out: Counter[str] = Counter()
    unclear = [task for task in tasks if len(_candidates(task, annotator)) > 1]
    if unclear and annotator is None:
        raise DataError(
            f"{root}: {len(unclear):,} tasks have several annotations; the first is task "
            f"{unclear[0].id!r}. Choose whose count with --annotator: {_listed(people)}.",
            kind="several annotators",
            file=unclear[0].path,
        )
    for task in tasks:
        fitting = _candidates(task, annotator)
        if len(fitting) > 1:
            faults.append(
                DataError(
                    f"{task.path}: task {task.id!r} has {len(fitting)} annotations by "
                    f"{annotator}. Remove all but one, or mark one as ground truth.",
                    kind="annotated twice",
                    file=task.path,
                )
            )
        elif fitting:
            chosen.append(Choice(task, fitting[0].get("result") or []))
        else:
            why = "by other people" if task.annotations else "without annotations"
            left_out["that were cancelled" if task.cancelled and not task.annotations else why] += 1
    notes += [f"left out {count:,} tasks {why}" for why, count in left_out.items()]
    if count := sum(task.has_predictions for task in tasks):
        notes.append(f"ignored the predictions of models for {count:,} tasks")
    return chosen


def _candidates(task: Task, annotator: str | None) -> list[dict[str, Any]]:
    """Returns the annotations of a task that may count; a ground truth counts before others."""
    fitting = [a for a in task.annotations if annotator is None or _is_by(_name(a), annotator)]
    truth = [a for a in fitting if a.get("ground_truth") is True]
    return truth if len(truth) == 1 else fitting


def _name(annotation: dict[str, Any]) -> str:
    """Returns "7", "7 (ann@example.org)", or that the person is unknown."""
    person = annotation.get("completed_by")
    if isinstance(person, dict):
        number, email = person.get("id"), person.get("email")
        if email and number is not None:
            return f"{number} ({email})"
        person = email if email else number
    return UNKNOWN if person is None else str(person)


def _is_by(name: str, annotator: str) -> bool:
    number, _, email = name.partition(" (")
    return annotator.strip().casefold() in (number.casefold(), email.rstrip(")").casefold())


def _listed(people: Counter[str]) -> str:
    return ", ".join(f"{name} with {count:,}" for name, count in people.most_common(20))
