"""Receptive fields: what a feature can see of the image, and how much of it counts (Luo et al. 2016).

The effective field is the gradient of the central position of the last feature layer, all channels summed,
with respect to the image: its absolute value, averaged over validation images and the image's channels.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import fmean, stdev

from cnnbench.analyses import plots
from cnnbench.analyses.base import Analysis, Cell, Figure, Subject, Table
from cnnbench.analyses.effective_field import THRESHOLD, Seen, contributions_of, effective_side
from cnnbench.analyses.field_words import sees_more, written_field, written_size
from cnnbench.analyses.opening import LeftOut
from cnnbench.analyses.receptive_field_pictures import draw
from cnnbench.data import describe_dataset
from cnnbench.errors import CnnbenchError
from cnnbench.models.receptive_field import LayerField, receptive_fields_of
from cnnbench.options import Count
from cnnbench.reading import DamagedError

MOST_IN_A_PICTURE = 4
MOST_PRINTED = 60  # rows of a table of layers in the report


class ReceptiveField(Analysis):
    """How much of the image each variant's features can see, and how much of that counts."""

    def __init__(self, *, num_images: Count = 64) -> None:
        self.num_images = num_images

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields pictures of up to four variants each, a table of all, and tables of their layers."""
        left_out = LeftOut()
        fields = _fields(subject)
        seen = {name: self._look(subject, name, *fields[name], left_out) for name in subject.variants()}
        shown = [name for name, found in seen.items() if found.untrained or found.trained]
        pictures = _portions(shown)
        for number, names in enumerate(pictures, start=1):
            which = f" ({number} of {len(pictures)})" if len(pictures) > 1 else ""
            drawn = {name: seen[name] for name in names}
            yield Figure(
                name="receptive_field" if len(pictures) == 1 else f"receptive_field_{number}",
                title=f"Effective receptive fields{which}",
                caption=self._caption(drawn) + left_out.note(),
                figure=draw(drawn),
            )
        yield self._table(seen, left_out.note() + subject.diverged_note())
        yield from _layer_tables(seen)

    def _look(
        self,
        subject: Subject,
        name: str,
        in_shape: tuple[int, int, int],
        layers: Sequence[LayerField],
        left_out: LeftOut,
    ) -> Seen:
        """Measures the variant's effective fields; what cannot be read is told to `left_out`."""
        found = Seen(in_shape, layers)
        layer = found.last
        for run in subject.trained()[name]:
            if layer is None:
                break
            try:
                loader = subject.loader(run)
                images = loader.spread_over(loader.dataset.val, self.num_images)
                for contributions, trained in ((found.untrained, False), (found.trained, True)):
                    model = subject.model(run, trained=trained).requires_grad_(False)
                    contributions[run.seed] = contributions_of(model, layer, images)
            except DamagedError:
                left_out.add(run.label, "its weights cannot be read")
            except CnnbenchError as error:  # its data set is no longer there
                left_out.add(name, error)
                break
        return found

    def _caption(self, drawn: Mapping[str, Seen]) -> str:
        seeds = {name: found.seed for name, found in drawn.items()}
        of = ", ".join(f"{name} seed {seed}" for name, seed in seeds.items())
        if len(set(seeds.values())) == 1:
            of = f"one seed, {min(seeds.values())}"
        text = (
            "How strongly the central position of the last feature layer reacts to each pixel: the absolute "
            "gradient, channels summed, averaged over up to "
            f"{self.num_images} validation images and divided by its peak ({of}); before training and with "
            "the best weights. The color scale is the same for all and follows the square root, so that weak "
            "contributions show. Solid box: the theoretical field; the edges that lie outside the image are "
            f"not seen. Dashed: a square as large as the area above {100 * THRESHOLD:.2f} % of the peak and "
            "about its center; its side stands below each panel."
        )
        return text + _beyond(drawn) + _everywhere(drawn)

    def _table(self, seen: Mapping[str, Seen], note: str) -> Table:
        rows = [_row(name, found) for name, found in seen.items()]
        num_seeds = sorted({len(found.trained) for found in seen.values() if found.trained})
        text = (
            "The last feature layer is the last one that puts out a map of more than one position, before "
            "pooling over the whole image or flattening. The theoretical field (height × width) is all that "
            "a position can see, padding included; the stride is the distance between two positions. The "
            "effective field is the side of a square as large as the area that contributes more than "
            f"{100 * THRESHOLD:.2f} % of the peak (Luo et al. 2016), over up to {self.num_images} validation "
            "images; the last column compares it, after training, with the theoretical one."
        )
        if num_seeds == [1]:
            text += " One seed each, hence no standard deviation."
        elif num_seeds:
            text += f" Mean and standard deviation over {' or '.join(map(str, num_seeds))} seeds."
        without = [name for name, found in seen.items() if found.last is None and not found.problem]
        if without:
            text += f" Without a feature map, so that every unit sees the whole image: {', '.join(without)}."
        unknown = [f"{name} {found.problem}" for name, found in seen.items() if found.problem]
        if unknown:
            text += f" Unknown: {'; '.join(unknown)}."
        return Table(
            name="receptive_field",
            title="Receptive fields of the last feature layer",
            caption=text + _beyond(seen) + _everywhere(seen) + note,
            columns=[
                "variant", "last feature layer", "image (pixels)", "stride (pixels)",
                "theoretical field (pixels)", "effective, untrained (pixels)", "± untrained",
                "effective, trained (pixels)", "± trained", "trained / theoretical (%)", "seeds",
            ],
            rows=rows,
        )  # fmt: skip


def _fields(subject: Subject) -> dict[str, tuple[tuple[int, int, int], list[LayerField]]]:
    """For each variant the shape of its images and its layers' fields; equal models are looked at once."""
    known: dict[tuple[str, tuple[int, int, int], int], list[LayerField]] = {}
    found = {}
    for name, runs in subject.variants().items():
        config = subject.config(runs[0])
        in_shape, num_classes = describe_dataset(config.data, subject.datasets.root, config.plugins)
        key = (config.model.model_dump_json(), in_shape, num_classes)
        if key not in known:
            known[key] = receptive_fields_of(config.model, in_shape, num_classes, config.plugins)
        found[name] = (in_shape, known[key])
    return found


def _beyond(seen: Mapping[str, Seen]) -> str:
    names = []
    for name, found in seen.items():
        size = found.last.size if found.last else None
        if size and (size[0] > found.in_shape[1] or size[1] > found.in_shape[2]):
            names.append(name)
    if not names:
        return ""
    return (
        " The theoretical field is larger than the image, at whose edge the effective one must end: "
        f"{', '.join(names)}."
    )


def _everywhere(seen: Mapping[str, Seen]) -> str:
    names = [name for name, found in seen.items() if found.last and sees_more(found.last)]
    if not names:
        return ""
    return (
        " Beyond the field of its place each position also depends on the image as a whole (+), by a gate or "
        f"the statistics of a norm: {', '.join(names)}."
    )


def _row(name: str, found: Seen) -> list[Cell]:
    _, *image = found.in_shape
    layer = found.last
    if layer is None or layer.size is None or layer.stride is None:
        words = "unknown" if found.problem else "no feature map"
        return [name, None, written_size(image), None, words, None, None, None, None, None, 0]
    before, after = (
        [side for each in contributions.values() if (side := effective_side(each)) is not None]
        for contributions in (found.untrained, found.trained)
    )
    theoretical = math.sqrt(math.prod(layer.size))
    return [
        name,
        _layer_name(layer),
        written_size(image),
        _stride(layer.stride),
        written_field(layer),
        *_mean_and_deviation(before),
        *_mean_and_deviation(after),
        round(100 * fmean(after) / theoretical, 1) if after else None,
        len(after),
    ]


def _mean_and_deviation(values: Sequence[float]) -> tuple[float | None, float | None]:
    mean = round(fmean(values), 2) if values else None
    return mean, round(stdev(values), 2) if len(values) > 1 else None


def _layer_name(layer: LayerField) -> str:
    again = f", call {layer.call + 1}" if layer.call else ""
    return f"{layer.name} ({layer.kind}{again})"


def _stride(stride: tuple[Fraction, Fraction]) -> Cell:
    height, width = (str(value) for value in stride)
    if height != width:
        return f"{height} × {width}"
    return int(height) if stride[0].denominator == 1 else float(stride[0])


def _layer_tables(seen: Mapping[str, Seen]) -> Iterator[Table]:
    """A table for each different list of fields, under all variants that have it."""
    groups: dict[tuple[tuple[Cell, ...], ...], list[str]] = {}
    for name, found in seen.items():
        groups.setdefault(tuple(_layer_rows(found.layers)), []).append(name)
    for number, (rows, names) in enumerate(groups.items(), start=1):
        image = sorted({written_size(seen[name].in_shape[1:]) for name in names})
        shared = (
            " + whole image: by a gate or the statistics of a norm each position depends on all of it, too."
        )
        shared = shared if any("+" in str(row[3]) for row in rows) else ""
        yield Table(
            name="receptive_field_layers" if len(groups) == 1 else f"receptive_field_layers_{number}",
            title=f"Receptive fields, layer by layer: {', '.join(plots.short_names(names))}",
            caption=f"In the order of the calls, for images of {' and '.join(image)} pixels. Layers without "
            "weights between pixels or channels that leave the field as it is (activations, norms, dropout) "
            "are left out. Stride: pixels from one position to the next." + shared,
            columns=["layer", "kind", "map (height × width)", "field (pixels)", "stride (pixels)"],
            rows=rows,
            in_report=len(rows) <= MOST_PRINTED,
        )


def _layer_rows(layers: Sequence[LayerField]) -> Iterator[tuple[Cell, ...]]:
    for before, layer in pairwise([None, *layers]):
        assert layer is not None
        is_news = before is None or (before.axes, before.problem) != (layer.axes, layer.problem)
        if layer.mixes or is_news:
            yield (
                layer.name,
                layer.kind,
                written_size(layer.output_shape[1:]) if layer.is_map else None,
                written_field(layer),
                None if layer.stride is None else _stride(layer.stride),
            )


def _portions(names: Sequence[str]) -> list[list[str]]:
    """The variants in order, as many together as fit one picture, spread evenly."""
    num = math.ceil(len(names) / MOST_IN_A_PICTURE)
    ends = [len(names) * number // num for number in range(num + 1)] if num else []
    return [list(names[start:end]) for start, end in pairwise(ends)]
