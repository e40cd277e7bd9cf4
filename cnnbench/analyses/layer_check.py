"""The hand-written layers beside standard ones: gradients, differences, times, memory. Runs play no part."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from cnnbench.analyses.base import Analysis, Cell, Subject, Table
from cnnbench.memory import MIB
from cnnbench.models import custom
from cnnbench.options import Count

CHANNELS = 32
SIZE = 32
WARMUP_CALLS = 2
MIN_CALLS = 5
MAX_CALLS = 20
MAX_SECONDS = 1.0  # for each pair of layers, after MIN_CALLS


class SqueezeExcitation(nn.Module):
    """The attention layer of PyTorch's own modules."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(channels // 16, 1))
        self.excite = nn.Linear(max(channels // 16, 1), channels)

    def forward(self, inputs: Tensor) -> Tensor:
        gate: Tensor = self.excite(self.squeeze(inputs.mean((2, 3))).relu()).sigmoid()
        return inputs * gate[:, :, None, None]


class SwishLeaky(nn.Module):
    """The mixed activation of PyTorch's own modules."""

    def __init__(self) -> None:
        super().__init__()
        self.raw_mix = nn.Parameter(torch.zeros(()))
        self.swish = nn.SiLU()
        self.leaky_relu = nn.LeakyReLU(custom.LEAKY_SLOPE)

    def forward(self, inputs: Tensor) -> Tensor:
        mix = self.raw_mix.sigmoid()
        mixed: Tensor = mix * self.swish(inputs) + (1 - mix) * self.leaky_relu(inputs)
        return mixed


@dataclass(frozen=True)
class Pair:
    """A hand-written layer and its counterpart, each made for a number of channels."""

    name: str
    counterpart: str
    make: Callable[[int], nn.Module]
    make_counterpart: Callable[[int], nn.Module]


PAIRS = (
    Pair(
        "ScaledConv2d",
        "nn.Conv2d",
        lambda channels: custom.ScaledConv2d(channels, channels, 3, padding="same"),
        lambda channels: nn.Conv2d(channels, channels, 3, padding="same"),
    ),
    Pair("SqueezeExcitation", "nn.Linear, ReLU, sigmoid", custom.SqueezeExcitation, SqueezeExcitation),
    Pair(
        "SwishLeaky",
        "nn.SiLU, nn.LeakyReLU, mixed",
        lambda channels: custom.SwishLeaky(),
        lambda channels: SwishLeaky(),
    ),
    Pair(
        "LpPool2d",
        "nn.LPPool2d, p = 2",
        lambda channels: custom.LpPool2d(2),
        lambda channels: nn.LPPool2d(2, 2),
    ),
)


class LayerCheck(Analysis):
    """Whether the hand-written layers are right, and what they cost beside standard ones."""

    def __init__(self, *, batch_size: Count = 64) -> None:
        self.batch_size = batch_size

    def analyse(self, subject: Subject) -> Iterator[Table]:
        """Yields the table: one row for each layer."""
        device = subject.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            rows = [compare(pair, self.batch_size, device) for pair in PAIRS]
        yield Table(
            name="layer_check",
            title="Hand-written layers beside standard ones",
            caption=caption_of(self.batch_size, device),
            columns=[
                "layer", "counterpart", "gradcheck", "output difference", "gradient difference",
                "forward (ms)", "counterpart forward (ms)", "forward ratio",
                "backward (ms)", "counterpart backward (ms)", "backward ratio",
                "saved (MiB)", "counterpart saved (MiB)",
            ],
            rows=rows,
        )  # fmt: skip


def caption_of(batch_size: int, device: torch.device) -> str:
    """What the columns mean and what the numbers cannot say."""
    input_mib = batch_size * CHANNELS * SIZE**2 * 4 / MIB
    return (
        f"Both layers of a row see the same {batch_size} random images of {CHANNELS} channels and "
        f"{SIZE}×{SIZE} pixels, in fp32 on the {device.type}; the recipe's runs play no part. Gradcheck: "
        "whether the gradients of inputs and of all parameters, derived by hand, agree with finite "
        "differences (in float64, on small images). Differences: the largest absolute one, of outputs and "
        "of the gradients that both layers have, beside the largest value of that tensor; fp32 keeps "
        "about 7 digits. Scales are 1 and p is 2 here, as they start; nn.Conv2d and nn.LPPool2d cannot "
        f"learn them, so they do less. Times: medians of {MIN_CALLS} to {MAX_CALLS} calls in turns, after "
        f"{WARMUP_CALLS} to warm up; a ratio above 1 means that the hand-written layer is slower. They "
        "hold for fp32, this machine and whatever else ran on it; in bf16 they are others, and the analysis "
        "inference has those of whole networks in the precision of their runs. A ratio near 1 says nothing. "
        "Saved: memory held from forward to backward, what is shared counted once; the images themselves are "
        f"{input_mib:.2f} MiB."
    )


def compare(pair: Pair, batch_size: int, device: torch.device) -> list[Cell]:
    """The table's row of a pair of layers."""
    checked = agrees_with_finite_differences(pair.make(4))
    layer, counterpart = pair.make(CHANNELS).to(device), pair.make_counterpart(CHANNELS).to(device)
    weights = layer.state_dict()
    counterpart.load_state_dict({name: weights[name] for name in counterpart.state_dict()})
    inputs = torch.randn(batch_size, CHANNELS, SIZE, SIZE, device=device)
    inputs = inputs.contiguous(memory_format=torch.channels_last).requires_grad_()
    outputs, expected = layer(inputs), counterpart(inputs)
    grad_outputs = torch.randn_like(expected)
    gradients = gradients_by_name(layer, inputs, outputs, grad_outputs)
    wanted = gradients_by_name(counterpart, inputs, expected, grad_outputs)
    saved = [saved_mib(each, inputs) for each in (layer, counterpart)]
    forward, backward = time_in_turns((layer, counterpart), inputs, grad_outputs)
    return [
        pair.name,
        pair.counterpart,
        "passed" if checked else "failed",
        largest_difference([(outputs, expected)]),
        largest_difference([(gradients[name], wanted[name]) for name in wanted]),
        *(round(value, 2) for value in (*forward, forward[0] / forward[1])),
        *(round(value, 2) for value in (*backward, backward[0] / backward[1])),
        *(round(value, 2) for value in saved),
    ]


def agrees_with_finite_differences(layer: nn.Module) -> bool:
    """Whether autograd's gradcheck passes for inputs and parameters, in float64 on the processor.

    The layer takes images of 4 channels; its parameters are moved away from where they start.
    """
    layer = layer.double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    inputs = torch.randn(2, 4, 5, 5, dtype=torch.float64, requires_grad=True)
    # gradcheck changes the parameters in place, so that the layer's own are the ones it varies
    passed: bool = torch.autograd.gradcheck(
        lambda inputs, *parameters: layer(inputs), (inputs, *layer.parameters()), raise_exception=False
    )
    return passed


def gradients_by_name(
    layer: nn.Module, inputs: Tensor, outputs: Tensor, grad_outputs: Tensor
) -> dict[str, Tensor]:
    """Gradients of the parameters by their names, and of the inputs."""
    parameters = dict(layer.named_parameters())
    gradients = torch.autograd.grad(outputs, [inputs, *parameters.values()], grad_outputs)
    return dict(zip(["inputs", *parameters], gradients, strict=True))


def largest_difference(pairs: Sequence[tuple[Tensor, Tensor]]) -> str:
    """The largest absolute difference of two tensors, and the largest absolute value where it stands."""
    found = [((ours - theirs).abs().max().item(), theirs.abs().max().item()) for ours, theirs in pairs]
    difference, largest = max(found)
    return f"{difference:.1e} of {largest:.3g}"


def saved_mib(layer: nn.Module, inputs: Tensor) -> float:
    """What autograd keeps of a forward pass for the backward pass, each storage counted once, in MiB."""
    kept: dict[int, Tensor] = {}  # the tensors stay alive here, so that no address is used twice

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(inputs)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / MIB


def time_in_turns(
    layers: Sequence[nn.Module], inputs: Tensor, grad_outputs: Tensor
) -> tuple[list[float], list[float]]:
    """Median times of forward and of backward passes in ms, a value for each layer."""
    forward: list[list[float]] = [[] for _ in layers]
    backward: list[list[float]] = [[] for _ in layers]
    end = perf_counter() + MAX_SECONDS
    for call in range(WARMUP_CALLS + MAX_CALLS):
        for index, layer in enumerate(layers):
            start = perf_counter()
            outputs = layer(inputs)
            wait_for(inputs.device)
            middle = perf_counter()
            torch.autograd.grad(outputs, [inputs, *layer.parameters()], grad_outputs)
            wait_for(inputs.device)
            if call >= WARMUP_CALLS:
                forward[index].append(1000 * (middle - start))
                backward[index].append(1000 * (perf_counter() - middle))
        if perf_counter() > end and call + 1 >= WARMUP_CALLS + MIN_CALLS:
            break
    return [median(times) for times in forward], [median(times) for times in backward]


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
