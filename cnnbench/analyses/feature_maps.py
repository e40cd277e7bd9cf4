"""What convolutions of early, middle and late depth make of images, channel by channel."""

from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, nn

from cnnbench.analyses.base import Analysis, Figure, Subject, Table, Untrained
from cnnbench.analyses.capture import Layer, convolutions, find_layer
from cnnbench.analyses.image_grid import Band, draw_bands, in_portions
from cnnbench.analyses.looking import Seen, check_look, look, nothing_to_show, said_of_channels
from cnnbench.analyses.opening import LeftOut
from cnnbench.options import Count, Images, LayerNames

MOST_LINES = 10  # of images in one picture


class FeatureMaps(Analysis):
    """How what a network sees changes with depth: the strongest channels of a few layers, as pictures."""

    def __init__(
        self,
        *,
        images: Images | None = None,
        channels: Count = 8,
        layers: LayerNames | None = None,
    ) -> None:
        self.images = images
        self.channels = channels
        self.layers = layers
        self.needs_check = images is not None or layers is not None

    def check(self, variants: Iterable[Untrained]) -> None:
        check_look(variants, self.images, self._choose)

    def analyse(self, subject: Subject) -> Iterator[Figure | Table]:
        """Yields one picture or more of each variant, or a table that says why there are none."""
        left_out = LeftOut()
        seen = look(subject, self.images, self.channels, self._choose, left_out)
        if not seen:
            yield nothing_to_show("feature_maps", "Feature maps", left_out)
            return
        number = 0
        for each in seen:
            portions = in_portions(_bands(each), MOST_LINES)
            for part, bands in enumerate(portions, start=1):
                number += 1
                which = f" ({part} of {len(portions)})" if len(portions) > 1 else ""
                yield Figure(
                    name=f"feature_maps_{number}",
                    title=f"Feature maps: {each.variant}{which}",
                    caption=self._caption(each) + left_out.note(),
                    figure=draw_bands(bands),
                )

    def _choose(self, model: nn.Module, inputs: Tensor) -> list[Layer]:
        """The layers to show; "first", "middle" and "last" are convolutions, unless a layer has that name."""
        found = convolutions(model, inputs)
        if self.layers is None:
            return [found[place] for place in ends_of_thirds(len(found))]
        if not found:
            return []
        places = {"first": 0, "middle": (len(found) - 1) // 2, "last": len(found) - 1}
        own = dict(model.named_modules())
        return [
            found[places[name]] if name in places and name not in own else find_layer(model, inputs, name)
            for name in dict.fromkeys(self.layers)
        ]

    def _caption(self, seen: Seen) -> str:
        images = ", ".join(map(str, seen.examples))
        if self.layers is None:
            layers = "the last convolution of each third of the network, in the order of their calls"
        else:
            layers = "the layers asked for"
        return (
            f"Seed {seen.seed} of {seen.variant}. Left: validation images as stored: {images}. Beside each: "
            f"the output of {layers}, taken after what its heading names; "
            f"{said_of_channels(self.channels)}. Each layer has a color scale of its own, from its lowest to "
            "its highest value here, the same for all its images."
        )


def ends_of_thirds(count: int) -> list[int]:
    """The last place of each third of `count` places, the thirds as equal as can be: [1, 3, 5] of six."""
    return sorted({-(-count * third // 3) - 1 for third in (1, 2, 3)}) if count else []


def _bands(seen: Seen) -> Sequence[Band]:
    return [Band(str(each.layer), each.amount(), each.numbers, seen.rows(each)) for each in seen.layers]
