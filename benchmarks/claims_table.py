"""docs/results.md from the numbers of `claims.py`: tables, differences with their standard errors, and verdicts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from figures import Figure, ahead, difference, summarise

__all__ = ["claims", "style_score", "write_table"]

Run = dict[str, Any]
Measure = Callable[[Run], float]

GENERATIVE = ("vae", "beta-vae", "cr-vae")
DISCRIMINATIVE = ("simclr", "vicreg")
NAMES = {
    "simvae": "SimVAE", "vae": "VAE", "beta-vae": "β-VAE", "cr-vae": "CR-VAE", "simclr": "SimCLR", "vicreg": "VICReg",
}  # fmt: skip


def style_score(run: Run) -> float:
    """Mean over the style factors of what the MLP probe reads: R², or accuracy with chance as 0 and all right as 1."""
    factors = run["evaluation"]["representations"][0]["style"].values()
    return sum(map(_above_chance, factors)) / len(factors)


def _above_chance(factor: dict[str, Any]) -> float:
    score: float = factor["mlp"]
    return score if factor["measure"] == "r2" else (score - factor["chance"]) / (1 - factor["chance"])


def content(name: str, row: int = 0) -> Measure:
    """A probe's accuracy, of the embedding (row 0) or the features (row 1)."""
    return lambda run: float(run["evaluation"]["representations"][row][name])


def clustering(name: str) -> Measure:
    """Agreement of clusters with classes."""
    return lambda run: float(run["evaluation"]["representations"][0]["gmm"][name])


CONTENT: dict[str, Measure] = {
    "linear": content("linear"),
    "MLP": content("mlp"),
    "kNN, cosine": content("knn_cosine"),
    "kNN, Euclidean": content("knn_euclidean"),
    "GMM accuracy": clustering("accuracy"),
    "GMM NMI": clustering("nmi"),
}
FEATURES: dict[str, Measure] = {
    "linear": content("linear", 1),
    "MLP": content("mlp", 1),
    "kNN, cosine": content("knn_cosine", 1),
    "kNN, Euclidean": content("knn_euclidean", 1),
}
COMPARED: dict[str, Measure] = {
    "kNN, cosine": CONTENT["kNN, cosine"],
    "linear": CONTENT["linear"],
    "style": style_score,
}


def write_table(results: dict[str, Any], path: Path) -> None:
    """Writes the page.

    Args:
        results: What `claims.py` measured, by data set.
        path: The Markdown file.
    """
    parts = [_HEAD, *(section(data, found) for data, found in results.items() if "runs" in found), claims(results)]
    path.write_text("\n".join(parts), encoding="utf-8")


def section(data: str, found: dict[str, Any]) -> str:
    """Everything on one data set."""
    groups = _groups(found["runs"])
    first = found["runs"][0]
    seeds = sorted({run["seed"] for run in found["runs"]})
    factors = list(first["evaluation"]["representations"][0]["style"])
    style: dict[str, Measure] = {"mean": style_score, **{name: _factor(name) for name in factors}}
    minutes = sum(run["seconds"] for run in found["runs"]) / 60
    commits = list(dict.fromkeys(run["code_version"] for run in found["runs"]))
    many = f" to {commits[-1]} ({len(commits)} of them)" if len(commits) > 1 else ""
    origin = (
        f"Commit{'s' * bool(many)} {commits[0]}{many}; {first['views']:,.0f} views per run, "
        f"seeds {', '.join(map(str, seeds))}; {len(found['runs'])} runs, {minutes:.0f} minutes of training in all.\n"
    )
    return "\n".join(
        (
            f"## {data}\n",
            origin,
            "### Content, from the embedding\n",
            _table(groups, CONTENT) + _baselines(found["runs"]),
            "### Content, from the encoder's last hidden layer\n",
            _table(groups, FEATURES),
            "### Style, from the embedding (MLP probe; R² or accuracy, in %)\n",
            _table(groups, style),
            "### SimVAE minus the others\n",
            "In points, ± the standard error of the difference; **bold** is ahead by more than two of them.\n",
            _differences(groups, (*GENERATIVE, *DISCRIMINATIVE), COMPARED),
            "The style of each factor, beside the discriminative ones:\n",
            _differences(groups, DISCRIMINATIVE, {name: _factor(name) for name in factors}),
            "### What was tried\n",
            _tuning(found["tuning"]),
        )
    )


def claims(results: dict[str, Any]) -> str:
    """The paper's three claims, each with a verdict by these numbers alone."""
    lines = ["## The paper's claims\n"]
    for title, others, measures in (
        (
            "1. On simple images SimVAE's content is better than that of VAE methods.",
            GENERATIVE,
            ("kNN, cosine", "linear"),
        ),
        (
            "1. On simple images SimVAE's content is better than that of discriminative methods.",
            DISCRIMINATIVE,
            ("kNN, cosine", "linear"),
        ),
        ("3. Where style is needed SimVAE is better than discriminative methods.", DISCRIMINATIVE, ("style",)),
    ):
        lines.append(f"**{title}**\n")
        for data, found in results.items():
            if "runs" in found:
                lines += [
                    f"- {data}, {measure}: {verdict(_groups(found['runs']), others, measure)}" for measure in measures
                ]
        lines.append("")
    lines.append(
        "**2. On harder images (CIFAR-10, CelebA) SimVAE narrows the gap to discriminative methods.** Not tested: "
        "these data sets were not at hand. `benchmarks/claims.py` runs on them when they are added to its plan.\n"
    )
    return "\n".join(lines)


def verdict(groups: dict[str, list[Run]], others: Sequence[str], measure: str) -> str:
    """Supported when SimVAE is ahead of every one by more than two standard errors."""
    own = _figure(groups["simvae"], COMPARED[measure])
    found = {name: difference(own, _figure(groups[name], COMPARED[measure])) for name in others}
    detail = ", ".join(f"{NAMES[name]} {100 * gap.mean:+.2f} ± {100 * gap.error:.2f}" for name, gap in found.items())
    if all(map(ahead, found.values())):
        word = "supported"
    elif any(ahead(Figure(-gap.mean, gap.error)) for gap in found.values()):
        word = "contradicted"
    else:
        word = "not supported"
    return f"**{word}** ({detail})"


def _groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    return {name: [run for run in runs if run["objective"] == name] for name in NAMES}


def _figure(runs: Sequence[Run], measure: Measure) -> Figure:
    return summarise([measure(run) for run in runs])


def _factor(name: str) -> Measure:
    return lambda run: float(run["evaluation"]["representations"][0]["style"][name]["mlp"])


def _table(groups: dict[str, list[Run]], measures: dict[str, Measure]) -> str:
    rows = [
        [NAMES[name], *(str(_figure(runs, measure)) for measure in measures.values())] for name, runs in groups.items()
    ]
    return _markdown(["", *(name.removeprefix("factor:") for name in measures)], rows)


def _baselines(runs: Sequence[Run]) -> str:
    """Rows that depend on the data alone, measured once."""
    measured = next(run for run in runs if len(run["evaluation"]["representations"]) > 2)
    lines = []
    for row in measured["evaluation"]["representations"][2:]:
        cells = [row["linear"], row["mlp"], row["knn_cosine"], row["knn_euclidean"]]
        cells += [row["gmm"][name] if row["gmm"] else None for name in ("accuracy", "nmi")]
        texts = ["–" if cell is None else f"{100 * cell:.2f}" for cell in cells]
        lines.append(f"| {row['name']}, {row['dimensions']} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def _differences(groups: dict[str, list[Run]], others: Sequence[str], measures: dict[str, Measure]) -> str:
    rows = []
    for name in others:
        gaps = [
            difference(_figure(groups["simvae"], measure), _figure(groups[name], measure))
            for measure in measures.values()
        ]
        rows.append([NAMES[name], *(f"**{gap}**" if ahead(gap) else str(gap) for gap in gaps)])
    return _markdown(["", *(name.removeprefix("factor:") for name in measures)], rows)


def _tuning(tuning: dict[str, Any]) -> str:
    rows = [
        [NAMES[name], " ".join(trial["overrides"]) or "defaults", f"{100 * trial['knn_cosine']:.2f}", mark]
        for name, found in tuning.items()
        for trial in found["trials"]
        for mark in ["chosen" if trial["overrides"] == found["chosen"] else ""]
    ]
    return _markdown(["", "settings", "kNN, cosine, validation", ""], rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


_HEAD = """# Results

Do the paper's claims hold? Six objectives on one footing: the same encoder, data, views, optimiser and number of views
seen, as many trials each to choose settings from, the same evaluation. Written by `python benchmarks/claims.py table`
from docs/results.json; `tune` and `run` measure again. Accuracies are in %, means over seeds ± standard error of the
mean. The evaluation's protocol, with its name, stands in every run's `evaluation.json`.

Trials had half the epochs and were compared by nearest neighbours on validation images, cut from the training set with
a seed of their own: their networks had seen those images, as every network here learns without labels, but not their
labels. No test image took part in any choice. What all objectives share (network, batch size, learning rate of the
first trials) was explored with SimVAE and VAE beforehand, docs/log.md; SimCLR and VICReg have learning rates among
their trials for that reason.
"""
