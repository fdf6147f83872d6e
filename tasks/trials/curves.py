"""Learning curves on disk, and the line of progress printed per point."""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, fields
from pathlib import Path

from graft.training.selection import Evaluation
from tasks.common.files import write_text

COLUMNS = [field.name for field in fields(Evaluation)]


def write_curve(path: Path, curve: Iterable[Evaluation]) -> None:
    """Write a learning curve as CSV: a header, and one row per evaluation."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for point in curve:
        step, *values = astuple(point)
        writer.writerow([step, *("" if value is None else f"{value:.6g}" for value in values)])
    write_text(path, buffer.getvalue())


def read_curve(path: Path) -> list[Evaluation]:
    """Read what `write_curve` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [_evaluation(row) for row in rows]


def _evaluation(row: dict[str, str]) -> Evaluation:
    *values, label_free = COLUMNS[1:]
    rate, train_loss, val_loss, val_accuracy = (float(row[name]) for name in values)
    score = float(row[label_free]) if row.get(label_free) else None
    return Evaluation(int(row["step"]), rate, train_loss, val_loss, val_accuracy, score)


def announce(point: Evaluation) -> None:
    """Print a point of the curve; the executor shows it and Prefect logs it."""
    print(
        f"step {point.step:>5}  train loss {point.train_loss:.4f}  "
        f"validation loss {point.val_loss:.4f}  accuracy {point.val_accuracy:.3f}",
        flush=True,
    )
