"""An evaluation, or the mean of several seeds, as a table and a few lines for a terminal of 80 columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.evaluation.results import PROTOCOL, Evaluation
from training.evaluation.seeds import Figure, over_images, over_seeds
from training.evaluation.style import TEST_IMAGES

__all__ = ["print_evaluations"]

Json = Mapping[str, Any]
Path = tuple[str | int, ...]

_SHARES: tuple[tuple[str, Path], ...] = (
    ("linear", ("linear",)),
    ("MLP", ("mlp",)),
    ("kNN cosine", ("knn_cosine",)),
    ("kNN Euclidean", ("knn_euclidean",)),
    ("kNN weighted", ("knn_weighted",)),
    ("GMM accuracy", ("gmm", "accuracy")),
)
"""Accuracies, of which one run has a standard error."""
_OTHERS: tuple[tuple[str, Path], ...] = (
    ("GMM NMI", ("gmm", "nmi")),
    ("GMM ARI", ("gmm", "ari")),
    ("squared error", ("squared_error",)),
)


def print_evaluations(evaluations: Sequence[Evaluation], console: Console) -> None:
    """Prints what was measured, with standard errors: over the test images of one run, or over seeds.

    Args:
        evaluations: Of one run, or of several that differ in nothing but the seed.
        console: Where to print.
    """
    contents = [evaluation.as_json() for evaluation in evaluations]
    representations = contents[0]["representations"]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("")
    for representation in representations:
        table.add_column(representation["name"], justify="right", no_wrap=True)
    table.add_row("dimensions", *(str(representation["dimensions"]) for representation in representations))
    for label, path, images in _rows(contents[0]):
        columns = (("representations", column, *path) for column in range(len(representations)))
        cells = [_cell(_figure(contents, column, images)) for column in columns]
        if any(cells):
            table.add_row(label, *cells)
    console.print(table)
    for line in _sentences(contents):
        console.print(line, highlight=False, soft_wrap=True)
    for alarm in dict.fromkeys(alarm for content in contents for alarm in content["health"]["alarms"]):
        console.print(Text.assemble(("warning:", "bold yellow"), f" {alarm}"), soft_wrap=True)


def _rows(content: Json) -> Iterator[tuple[str, Path, int | None]]:
    """Label and place of each row, and the number of images behind it if it is a share of them."""
    for label, path in _SHARES:
        yield label, path, content["test_images"]
    for label, path in _OTHERS:
        yield label, path, None
    for name, score in content["representations"][0]["style"].items():
        label, images = name.removeprefix("factor:"), None
        if score["measure"] == "accuracy":
            label, images = f"{label} ({score['chance']:.0%})", min(content["test_images"], TEST_IMAGES)
        yield f"{label}, linear", ("style", name, "linear"), images
        yield f"{label}, MLP", ("style", name, "mlp"), images


def _sentences(contents: Sequence[Json]) -> Iterator[str]:
    first = contents[0]

    def said(*path: str, digits: int = 2) -> str:
        error = _find(first, (*path[:-1], f"{path[-1]}_se")) if len(contents) == 1 else None
        figure = _figure(contents, path)
        return "–" if figure is None else _plus_minus(Figure(figure.value, figure.error or error), digits)

    if any(representation["style"] for representation in first["representations"]):
        yield "style: R² of numbers, accuracy of categories (that of chance in brackets)"
    if first["likelihood"]:
        yield (
            f"held-out ELBO {said('likelihood', 'elbo')}, importance-weighted bound "
            f"{said('likelihood', 'importance_weighted')} nats per view"
        )
    health = f"active units {said('health', 'active_units', digits=0)} of {first['representations'][0]['dimensions']}"
    health += f", RankMe {said('health', 'rank_me', digits=1)}, LiDAR {said('health', 'lidar', digits=1)}"
    yield health + (f", virial ratio {said('health', 'virial_ratio')}" if first["health"]["virial_ratio"] else "")
    if first["similarity"]:
        yield (
            f"views of one image told from views of two: EER {said('similarity', 'eer', digits=3)}, "
            f"AUC {said('similarity', 'auc', digits=3)}; by cosine {said('similarity', 'cosine_eer', digits=3)}, "
            f"{said('similarity', 'cosine_auc', digits=3)}"
        )
        if first["similarity"]["cllr"] is not None:
            yield (
                f"C_llr {said('similarity', 'cllr')} bits, calibrated {said('similarity', 'cllr_calibrated')}, "
                f"least possible {said('similarity', 'cllr_min')}"
            )
    over = f"over {len(contents)} seeds" if len(contents) > 1 else "over test images, of accuracies and bounds"
    yield (
        f"± standard error {over}; protocol {PROTOCOL['name']}: fitted on {first['train_images']:,} training images, "
        f"settings chosen on {first['validation_images']:,} of them, scored on {first['test_images']:,} test images"
    )


def _figure(contents: Sequence[Json], path: Path, images: int | None = None) -> Figure | None:
    values = [value for content in contents if (value := _find(content, path)) is not None]
    if len(values) < len(contents):
        return None
    if len(values) > 1:
        return over_seeds(values)
    return Figure(values[0]) if images is None else over_images(values[0], images)


def _find(content: Any, path: Path) -> float | None:
    for key in path:
        if content is None or (isinstance(content, Mapping) and key not in content):
            return None
        content = content[key]
    return None if content is None else float(content)


def _cell(figure: Figure | None) -> str:
    """Four decimals, and the error without the zero before its point: four columns must fit."""
    return "" if figure is None else _plus_minus(figure, 4).replace("±0.", "±.")


def _plus_minus(figure: Figure, digits: int) -> str:
    value = f"{figure.value:.{digits}f}"
    return value if figure.error is None else f"{value} ±{figure.error:.{digits}f}"
