"""What the first convolution of each variant makes of an image, channel by channel."""

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn

from cnnbench.analyses.base import Analysis, Figure, Subject, Table, Untrained
from cnnbench.analyses.capture import Layer, convolutions
from cnnbench.analyses.examples import Example
from cnnbench.analyses.image_grid import Band, draw_bands, in_portions
from cnnbench.analyses.looking import Seen, check_look, look, named_layers, nothing_to_show, said_of_channels
from cnnbench.analyses.opening import LeftOut
from cnnbench.options import Count, Images

MOST_LINES = 6  # of images in one picture


class Activations(Analysis):
    """What the first layer sees in an image: its strongest channels as pictures, variant by variant."""

    def __init__(
        self,
        *,
        images: Images | None = None,
        layer: str | None = None,
        channels: Count = 8,
    ) -> None:
        self.images = images
        self.layer = layer
        self.channels = channels
        self.choose = _first_convolution if layer is None else named_layers([layer])
        self.needs_check = images is not None or layer is not None

    def check(self, variants: Iterable[Untrained]) -> None:
        check_look(variants, self.images, self.choose)

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields pictures of each image with up to six variants in them, or a table that says why none."""
        left_out = LeftOut()
        seen = look(subject, self.images, self.channels, self.choose, left_out)
        if not seen:
            yield nothing_to_show("activations", "Activations", left_out)
            return
        pictures = [
            (_example(*shown[0]), portion)
            for shown in _by_example(seen)
            for portion in in_portions([_band(*each) for each in shown], MOST_LINES)
        ]
        which = "First-layer activations" if self.layer is None else f"Activations of {self.layer}"
        for number, (example, bands) in enumerate(pictures, start=1):
            yield Figure(
                name=f"activations_{number}",
                title=f"{which}: {example}",
                caption=self._caption(example) + left_out.note(),
                figure=draw_bands(bands),
            )

    def _caption(self, example: Example) -> str:
        if self.layer is None:
            what = (
                "the output of the first convolution, taken after the norm and the activation that follow it "
                "(each heading names them)"
            )
        else:
            what = f"the output of layer {self.layer}"
        return (
            f"Left: validation image {example.index} (class {example.label}), as stored. Beside it: {what}; "
            f"{said_of_channels(self.channels)}. Each variant has a color scale of its own, from its lowest "
            "to its highest value here. One seed per variant, named in the heading; which channel comes to "
            "see what differs from seed to seed."
        )


def _first_convolution(model: nn.Module, inputs: Tensor) -> list[Layer]:
    return convolutions(model, inputs)[:1]


def _by_example(seen: Sequence[Seen]) -> list[list[tuple[Seen, int]]]:
    """Each image by the variants that were shown it and its place there; other data have other images."""
    groups: list[list[tuple[Seen, int]]] = []
    for each in seen:
        for place, example in enumerate(each.examples):
            same = (group for group in groups if _example(*group[0]).is_same(example))
            group = next(same, None)
            if group is None:
                groups.append(group := [])
            group.append((each, place))
    return groups


def _example(seen: Seen, place: int) -> Example:
    return seen.examples[place]


def _band(seen: Seen, place: int) -> Band:
    (layer,) = seen.layers
    detail = f"seed {seen.seed}, {layer.layer}: {layer.amount()}"
    return Band(seen.variant, detail, layer.numbers, [seen.rows(layer)[place]])
