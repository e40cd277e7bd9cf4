"""The architecture of each variant, layer by layer: output shapes, parameters, multiply-adds of one image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cnnbench.analyses.base import Analysis, Cell, Subject, Table
from cnnbench.data import describe_dataset
from cnnbench.models.failures import naming_failures
from cnnbench.models.summary import Layer, Summary, summarize_config


@dataclass(frozen=True)
class _Architecture:
    """Variants whose models are the same, as they see the same kind of images."""

    variants: list[str]
    in_shape: tuple[int, int, int]
    summary: Summary


class LayerSummary(Analysis):
    """What each layer of each variant puts out and what it costs."""

    def analyse(self, subject: Subject) -> Iterator[Table]:
        """Yields a table of the totals, and one for each architecture, under all variants that have it."""
        architectures = _architectures(subject)
        differing = [
            f"{name} ({num_params:,} when it was trained)"
            for each in architectures
            for name in each.variants
            for num_params in _trained_params(subject, name)
            if num_params != each.summary.num_params
        ]
        note = (
            " The model built now has another number of parameters than the one trained: "
            f"{', '.join(differing)}."
            if differing
            else ""
        )
        yield _totals(subject, architectures, note)
        for each in architectures:
            names = ", ".join(each.variants)
            yield Table(
                name=f"layers_{each.variants[0]}",
                title=f"Layers of {names}",
                caption=f"In the order of their calls, for one image of {_size(each.in_shape)}.",
                columns=["layer", "kind", "output shape", "parameters", "multiply-adds"],
                rows=[*map(_row, each.summary.layers), _total_row(each.summary)],
            )


def _architectures(subject: Subject) -> list[_Architecture]:
    """Each different model of the subject's variants, in their order; nothing is trained or loaded for it."""
    found: dict[tuple[str, tuple[int, int, int], int], _Architecture] = {}
    for name, runs in subject.variants().items():
        config = subject.config(runs[0])
        in_shape, num_classes = describe_dataset(config.data, subject.datasets.root, config.plugins)
        key = (config.model.model_dump_json(), in_shape, num_classes)
        if key in found:
            found[key].variants.append(name)
            continue
        with naming_failures(config.model, in_shape, config.plugins):
            summary = summarize_config(config.model, in_shape, num_classes, config.plugins)
        found[key] = _Architecture([name], in_shape, summary)
    return list(found.values())


def _trained_params(subject: Subject, variant: str) -> set[int]:
    """The parameter counts that the variant's runs recorded."""
    counts = [(run.result() or {}).get("num_params") for run in subject.variants()[variant]]
    return {count for count in counts if count is not None}


def _totals(subject: Subject, architectures: Sequence[_Architecture], note: str) -> Table:
    by_variant = {name: each for each in architectures for name in each.variants}
    rows: list[list[Cell]] = []
    for name in subject.variants():
        summary = by_variant[name].summary
        largest = max(summary.layers, key=lambda layer: layer.num_params)
        costliest = max(summary.layers, key=lambda layer: layer.macs)
        rows.append(
            [
                name,
                _size(by_variant[name].in_shape),
                sum(layer.macs > 0 for layer in summary.layers),
                summary.num_params,
                summary.macs,
                _share(largest, largest.num_params, summary.num_params),
                _share(costliest, costliest.macs, summary.macs),
            ]
        )
    return Table(
        name="layer_summary",
        title="What the models cost",
        caption="Multiply-adds are those of convolutions and matrix products for one image; layers are those "
        "that have any. The largest layer has most parameters, the costliest most multiply-adds; in "
        "parentheses their share of the whole. Below, an output is channels × height × width, or features; a "
        "layer that holds others counts only what is its own, and one that is called again counts its "
        "parameters once." + note,
        columns=[
            "variant", "input", "layers", "parameters", "multiply-adds", "largest layer",
            "costliest layer",
        ],
        rows=rows,
    )  # fmt: skip


def _row(layer: Layer) -> list[Cell]:
    return [layer.name, layer.kind, _size(layer.output_shape) or None, layer.num_params, layer.macs]


def _total_row(summary: Summary) -> list[Cell]:
    return ["total", "", _size(summary.output_shape), summary.num_params, summary.macs]


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _share(layer: Layer, part: int, whole: int) -> str | None:
    return f"{layer.name} ({100 * part / whole:.0f} %)" if whole else None
