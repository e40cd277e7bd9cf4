"""Where the result of each operation comes from in the image, by the operation's name in ATen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from cnnbench.models.index_ranges import Taps, bins, interpolation, transposed_window, window
from cnnbench.models.origins import NEITHER, Origin, Part, joined, plain, reshaped, union


@dataclass(frozen=True)
class Call:
    """One operation: its arguments by name, and its results; `origin_of` is None for what is no image's."""

    name: str
    given: dict[str, Any]
    outputs: list[Tensor]
    origin_of: Callable[[Tensor], Origin | None]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.outputs[0].shape)

    def origin(self, argument: str) -> Origin:
        """The origin of a tensor among the arguments, which may be a constant."""
        tensor: Tensor = self.given[argument]
        return self.origin_of(tensor) or Origin(tuple(plain(size) for size in tensor.shape))

    def main(self) -> Origin:
        """The origin of the tensor that the operation is about."""
        return self.origin("input" if "input" in self.given else "self")

    def dims(self, argument: str = "dim") -> list[int]:
        """Dimensions among the arguments, counted from the front; all of them where none is given."""
        num, dims = self.given["self"].dim(), self.given.get(argument)
        if dims is None or dims == []:
            return list(range(num))
        return [dim % num for dim in ([dims] if isinstance(dims, int) else dims)]

    def numbers(self, argument: str, num: int, default: int = 1) -> list[int]:
        """An argument that is given once for all dimensions or once for each."""
        value = self.given.get(argument, default)
        values = [value] if isinstance(value, int) else list(value)
        return values * num if len(values) == 1 else values

    def read_last(self, origin: Origin, taps: Sequence[Taps | None]) -> Origin:
        """Reads the last dimensions, one after another."""
        for dim, read in enumerate(taps, start=len(self.shape) - len(taps)):
            origin = origin.read(dim, read, self.shape[dim], self.name)
        return origin


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in an argument or result, at any depth."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return (
        [tensor for item in value for tensor in tensors_in(item)] if isinstance(value, list | tuple) else []
    )


def _convolution(call: Call) -> Origin:
    sizes = call.given["weight"].shape[2:]
    num = len(sizes)
    origin = call.origin("input")
    channels = len(origin.dims) - num - 1
    if origin.axis_of(channels) != NEITHER and call.given["groups"] != 1:
        return Origin(problem=call.name)
    origin = origin.merged([channels]).with_dim(channels, plain(call.shape[channels]))
    make = transposed_window if call.given["transposed"] else window
    settings = zip(*(call.numbers(name, num) for name in ("stride", "padding", "dilation")), strict=True)
    return call.read_last(origin, [make(size, *rest) for size, rest in zip(sizes, settings, strict=True)])


def _pooling(call: Call) -> Origin:
    num = int(call.name[call.name.index("pool") + 4])
    sizes = call.numbers("kernel_size", num)
    strides = call.numbers("stride", num) or sizes  # none given: windows side by side
    paddings, dilations = call.numbers("padding", num, 0), call.numbers("dilation", num)
    return call.read_last(call.main(), list(map(window, sizes, strides, paddings, dilations)))


def _adaptive_pooling(call: Call) -> Origin:
    new = call.given["output_size"]
    first = len(call.shape) - len(new)
    old = call.given["self"].shape[first:]
    origin = call.main().merged(first + i for i, size in enumerate(new) if size == 1)
    return call.read_last(origin, [bins(*sizes) for sizes in zip(old, new, strict=True)])


def _interpolation(call: Call) -> Origin:
    kinds = {"nearest_exact": "nearest-exact", "nearest": "nearest", "linear": "linear", "cubic": "cubic"}
    mode, *_ = (mode for part, mode in kinds.items() if part in call.name)  # the first that fits
    corners = bool(call.given.get("align_corners"))
    old, new = call.given["self"].shape[2:], call.shape[2:]
    scales = [call.given.get(name) for name in (["scales"] if len(old) == 1 else ["scales_h", "scales_w"])]
    for before, after, scale in zip(old, new, scales, strict=True):
        if scale is not None and before * scale != after:
            return Origin(problem=f"{call.name} by a factor that does not fit")
    taps = [interpolation(*sizes, mode, corners) for sizes in zip(old, new, strict=True)]
    return call.read_last(call.main(), taps)


def _padding(call: Call) -> Origin:
    pads = call.given["pad"] if "pad" in call.given else call.given["padding"]
    starts = list(pads[::2])[::-1]  # they are given from the last dimension on
    origin, first = call.main(), len(call.shape) - len(starts)
    for dim, start in enumerate(starts, start=first):
        if call.shape[dim] != call.given["self"].shape[dim] or start:
            origin = origin.read(dim, Taps([[-start]], 1), call.shape[dim], call.name)
    return origin


def _slice(call: Call) -> Origin:
    (dim,) = call.dims()
    size, start = call.given["self"].shape[dim], call.given["start"] or 0
    if call.shape[dim] == size:
        return call.main()
    start = min(start if start >= 0 else max(start + size, 0), size)
    return call.main().read(dim, Taps([[start]], call.given["step"]), call.shape[dim], call.name)


def _select(call: Call) -> Origin:
    (dim,) = call.dims()
    return _picked(call, dim, call.given["index"] % call.given["self"].shape[dim])


def _picked(call: Call, dim: int, index: int) -> Origin:
    origin = call.main()
    axis = origin.axis_of(dim)
    if axis is None:
        return Origin(problem=call.name)
    if axis != NEITHER and (ranges := origin.axes[axis].ranges) is not None:
        everywhere = joined(origin.axes[axis].everywhere, ranges.at(index))
        origin = origin.with_axis(axis, ranges=None, everywhere=everywhere)
    return origin.with_dim(dim)


def _unbind(call: Call) -> list[Origin]:
    (dim,) = call.dims()
    return [_picked(call, dim, index) for index in range(len(call.outputs))]


def _split(call: Call) -> list[Origin]:
    (dim,) = call.dims()
    origins, start = [], 0
    for output in call.outputs:
        origins.append(call.main().read(dim, Taps([[start]], 1), output.shape[dim], call.name))
        start += output.shape[dim]
    return origins


def _concatenation(call: Call) -> Origin:
    dim, size = call.given["dim"] % len(call.shape), call.shape[call.given["dim"]]
    parts: list[Part] = []
    for tensor in call.given["tensors"]:
        origin = call.origin_of(tensor)
        if origin is None:
            continue
        if call.name == "stack":
            origin = replace(origin, dims=(*origin.dims[:dim], plain(size), *origin.dims[dim:]))
        elif origin.axis_of(dim) == NEITHER:
            origin = origin.with_dim(dim, plain(size))
        else:
            return Origin(problem=call.name)
        parts.append((origin, call.shape))
    return union(parts, call.shape, call.name)


def _reduction(call: Call) -> Origin:
    gone = call.dims()
    origin = call.main().merged(gone)
    kept = [() if dim in gone else factors for dim, factors in enumerate(origin.dims)]
    if not call.given.get("keepdim"):
        kept = [factors for dim, factors in enumerate(kept) if dim not in gone]
    return replace(origin, dims=tuple(kept))


def _softmax(call: Call) -> Origin:
    return call.main().spread(call.dims())


def _batch_norm(call: Call) -> Origin:
    origin = call.main()
    if not call.given.get("training", call.name == "_batch_norm_with_update"):
        return origin
    return origin.spread(dim for dim in range(len(origin.dims)) if dim != 1)


def _layer_norm(call: Call) -> Origin:
    num = len(call.shape)
    return call.main().spread(range(num - len(call.given["normalized_shape"]), num))


def _group_norm(call: Call) -> Origin:
    return call.main().spread(range(2, len(call.shape)))


def _matrix_product(call: Call) -> Origin:
    names = ("self", "mat", "mat1", "mat2", "batch1", "batch2", "vec")
    *added, left, right = [name for name in names if name in call.given]
    product = _product(call, call.origin(left), call.origin(right))
    parts: list[Part] = [(product, call.shape)]
    parts += [(call.origin(name), call.given[name].shape) for name in added]
    return union(parts, call.shape, call.name)


def _product(call: Call, left: Origin, right: Origin) -> Origin:
    """(…, n, k) times (…, k, m) or (k,): k is summed over; where both come from the image, n meets m."""
    meet = all(any(axis.ranges for axis in origin.axes) for origin in (left, right))
    num, summed = len(left.dims), max(len(right.dims) - 2, 0)
    left = left.merged(range(num - 2, num) if meet else [num - 1])
    right = right.merged(range(summed, len(right.dims)) if meet else [summed])
    one = left.with_dim(-1) if len(right.dims) == 1 else left.with_dim(-1, ())
    other = right.with_dim(0) if len(right.dims) == 1 else right.with_dim(summed, ())
    return union([(origin, _sizes(origin)) for origin in (one, other)], call.shape, call.name)


def _sizes(origin: Origin) -> list[int]:
    return [math.prod(size for _, size in factors) for factors in origin.dims]


def _attention(call: Call) -> Origin:
    """Queries, keys and values (…, L, E): within each batch everything meets."""
    origins = [call.origin(name) for name in ("query", "key", "value")]
    origins = [origin.merged([len(origin.dims) - 2, len(origin.dims) - 1]) for origin in origins]
    origins = [replace(origin, dims=(*origin.dims[:-2], (), ())) for origin in origins]
    return union([(origin, _sizes(origin)) for origin in origins], call.shape, call.name)


def _permutation(call: Call) -> Origin:
    origin = call.main()
    order = list(range(len(origin.dims)))
    if call.name == "permute":
        order = call.dims("dims")
    elif call.name == "t":
        order.reverse()
    else:
        (first,), (second,) = call.dims("dim0"), call.dims("dim1")
        order[first], order[second] = second, first
    return replace(origin, dims=tuple(origin.dims[dim] for dim in order))


def _view(call: Call) -> Origin:
    return reshaped(call.main(), call.given["self"].shape, call.shape, call.name)


def _restrided(call: Call) -> Origin:
    """Memory seen in another way: known where it is the same elements at the same places."""
    source: Tensor = call.given["self"]
    strides = zip(source.shape, source.stride(), call.given["stride"], strict=False)
    alike = source.shape == call.shape and all(old == new for size, old, new in strides if size > 1)
    offset = call.given["storage_offset"]
    if alike and offset in (None, source.storage_offset()):
        return call.main()
    return Origin(problem=call.name)


def _squeeze(call: Call) -> Origin:
    gone = [dim for dim in call.dims() if call.given["self"].shape[dim] == 1]
    origin = call.main().merged(gone)
    return replace(origin, dims=tuple(factors for dim, factors in enumerate(origin.dims) if dim not in gone))


def _unsqueeze(call: Call) -> Origin:
    origin = call.main()
    dim = call.given["dim"] % len(call.shape)
    return replace(origin, dims=(*origin.dims[:dim], (), *origin.dims[dim:]))


def elementwise(call: Call) -> Origin:
    known = [(call.origin_of(tensor), tensor.shape) for tensor in tensors_in(call.given)]
    parts = [(origin, shape) for origin, shape in known if origin is not None]
    return union(parts, call.shape, call.name)


def _copy(call: Call) -> Origin:
    source: Tensor = call.given["src"]
    return union([(call.origin("src"), source.shape)], call.shape, call.name)


def _constant(call: Call) -> Origin:
    return Origin()


def _unfold(call: Call) -> Origin:
    (dim,) = call.dims("dimension")
    taps = window(call.given["size"], call.given["step"])
    origin = call.main().read(dim, taps, call.shape[dim], call.name)
    return replace(origin, dims=(*origin.dims, plain(call.given["size"])))


def _im2col(call: Call) -> Origin:
    """(N, C, H, W) -> (N, C times the window's size, H' times W')."""
    origin, old = call.main(), call.given["self"].shape
    names = ("kernel_size", "stride", "padding", "dilation")
    settings = zip(*(call.numbers(name, 2) for name in names), strict=True)
    for dim, (size, stride, padding, dilation) in enumerate(settings, start=2):
        num_outputs = (old[dim] + 2 * padding - dilation * (size - 1) - 1) // stride + 1
        origin = origin.read(dim, window(size, stride, padding, dilation), num_outputs, call.name)
    if origin.problem:
        return origin
    return replace(origin, dims=(origin.dims[0], plain(call.shape[1]), origin.dims[2] + origin.dims[3]))


def _pixel_shuffle(call: Call) -> Origin:
    factor = call.given["upscale_factor"]
    return _with_channels(call, call.read_last(call.main(), [Taps([[0]] * factor, 1)] * 2))


def _pixel_unshuffle(call: Call) -> Origin:
    factor = call.given["downscale_factor"]
    return _with_channels(call, call.read_last(call.main(), [Taps([list(range(factor))], factor)] * 2))


def _with_channels(call: Call, origin: Origin) -> Origin:
    return origin if origin.problem else origin.with_dim(-3, plain(call.shape[-3]))


def _reordered(call: Call) -> Origin:
    """Elements of a dimension moved, picked or put together: known where it is no axis of the image."""
    origin = call.main()
    for dim in call.dims("dims" if "dims" in call.given else "dim"):
        if origin.axis_of(dim) != NEITHER:
            return Origin(problem=call.name)
        origin = origin.with_dim(dim, plain(call.shape[dim]))
    return origin


Rule = Callable[[Call], Origin | list[Origin]]

# by the operations' names in PyTorch's ATen library, without the last underscore of those that work in place
_RULES: dict[Rule, str] = {
    _convolution: "convolution _convolution",
    _pooling: "avg_pool1d avg_pool2d avg_pool3d max_pool2d max_pool3d mkldnn_max_pool2d "
    "max_pool2d_with_indices max_pool3d_with_indices",
    _adaptive_pooling: "adaptive_max_pool2d adaptive_max_pool3d adaptive_avg_pool2d _adaptive_avg_pool2d "
    "_adaptive_avg_pool3d",
    _interpolation: "upsample_nearest1d upsample_nearest2d _upsample_nearest_exact1d "
    "_upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d upsample_bicubic2d",
    _padding: "constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d",
    _slice: "slice",
    _select: "select",
    _unbind: "unbind",
    _split: "split split_with_sizes",
    _concatenation: "cat stack",
    _reduction: "mean sum prod amax amin max min var std var_mean std_mean logsumexp linalg_vector_norm norm",
    _softmax: "_softmax _log_softmax",
    _batch_norm: "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit "
    "_native_batch_norm_legit_no_training _batch_norm_with_update",
    _layer_norm: "native_layer_norm _fused_rms_norm",
    _group_norm: "native_group_norm",
    _matrix_product: "mm addmm bmm baddbmm mv addmv",
    _attention: "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
    "_scaled_dot_product_attention_math _scaled_dot_product_fused_attention_overrideable",
    _permutation: "permute transpose t",
    _view: "view _unsafe_view reshape _reshape_alias",
    _restrided: "as_strided",
    _squeeze: "squeeze",
    _unsqueeze: "unsqueeze",
    _copy: "copy",
    _unfold: "unfold",
    _im2col: "im2col",
    _pixel_shuffle: "pixel_shuffle",
    _pixel_unshuffle: "pixel_unshuffle",
    _reordered: "flip roll index_select cumsum sort topk glu",
    # elementwise, though PyTorch, or an older one, does not mark them so
    elementwise: "expand clone _to_copy detach alias lift_fresh native_dropout hardswish _prelu_kernel abs "
    "log_sigmoid_forward threshold leaky_relu hardtanh rsub floor_divide masked_fill channel_shuffle",
    _constant: "zeros_like ones_like empty_like full_like rand_like randn_like new_zeros new_ones new_empty "
    "new_full new_empty_strided zero fill",
}
RULES: dict[str, Rule] = {name: rule for rule, names in _RULES.items() for name in names.split()}
LOOKS_AT_ALL = (elementwise, _concatenation, _matrix_product, _attention, _copy, _constant)
