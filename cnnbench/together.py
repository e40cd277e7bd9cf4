"""The seeds of a variant as one batched model: small models leave a GPU idle, and several fill it.

Each seed keeps its own batches, its own state on disk and its own evaluation; only steps are made together.
"""

import copy
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from cnnbench import catalog
from cnnbench.data.loader import Loader
from cnnbench.models.batch_norm import BatchNorm2d
from cnnbench.models.encoders import FAILURES
from cnnbench.models.pointwise import StridedPointwise
from cnnbench.models.tuning import Backboned, Tuning, tuning_of
from cnnbench.optimizers import ELEMENTWISE
from cnnbench.precision import Precision
from cnnbench.recipe.config import TrainConfig
from cnnbench.tasks import make_task
from cnnbench.training import (
    STEP_INTERVAL_SECONDS,
    DivergedError,
    Epoch,
    Step,
    Trained,
    TrainingState,
    add_untrained_row,
    finish_epoch,
    forget_gradients,
    learning_rates,
    stops_early,
)


@dataclass(frozen=True)
class Seed:
    """One of the runs that are trained together."""

    seed: int
    state: TrainingState
    loader: Loader


def why_apart(
    models: Sequence[nn.Module], config: TrainConfig, precision: Precision, loader: Loader
) -> str | None:
    """Why seeds must be trained one by one, of which two have these models; None where they need not be."""
    model = models[0]
    if tuning_of(model) != Tuning():
        return "a backbone that is frozen, let go late or trained more gently is trained alone"
    if isinstance(model, Backboned):
        return "a network with a backbone is trained alone"
    if config.optimizer.name not in ELEMENTWISE:
        return f"the optimizer {config.optimizer.name} looks at whole weights"
    if precision.scales_gradients:
        return "fp16 scales the gradients of a run by what it finds in them"
    if config.compile:
        return "it is to be compiled"
    if any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules()):
        return "dropout would be drawn otherwise than for one seed alone"
    try:
        return None if _comes_out_alike(models, loader, precision) else "it comes out otherwise when batched"
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        first_sentence = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        return f"PyTorch cannot batch this model ({first_sentence})"


def _comes_out_alike(models: Sequence[nn.Module], loader: Loader, precision: Precision) -> bool:
    """Whether copies of the models, batched, give what each gives alone: logits and statistics of a step.

    Raises what PyTorch raises where it cannot.
    """
    inputs = loader.begin_inputs(0)
    alone = [copy.deepcopy(model).train() for model in models]
    stacked = Stacked([copy.deepcopy(model).train() for model in models], precision)
    together = stacked(torch.stack([inputs] * len(models))).float()
    together.sum().backward()  # type: ignore[no-untyped-call]
    stacked.hand_back()
    tolerance = 1e-3 if precision.dtype == torch.float32 else 5e-2
    for logits, model, batched in zip(together, alone, stacked.models, strict=True):
        with precision.autocast():
            expected = model(inputs).float()
        pairs = [(logits, expected), *zip(batched.buffers(), model.buffers(), strict=True)]
        for found, wanted in pairs:
            scale = wanted.float().abs().max().clamp(min=1e-6)
            if not ((found.float() - wanted.float()).abs().max() <= tolerance * scale):
                return False
    return True


class Stacked:
    """Models of one architecture as one: inputs (S, B, ...) -> outputs (S, B, ...), each from its own model.

    Its parameters and buffers are theirs, stacked (S, ...); `hand_back` writes them into the models again.
    """

    def __init__(self, models: Sequence[nn.Module], precision: Precision) -> None:
        self.models = list(models)
        self.dtype = precision.dtype
        stacked, buffers = stack_module_state(self.models)
        self.stacked: dict[str, nn.Parameter] = {
            name: nn.Parameter(value.detach(), requires_grad=value.requires_grad)
            for name, value in stacked.items()
        }
        self.stacked_buffers: dict[str, Tensor] = buffers
        self._structure = copy.deepcopy(self.models[0]).to("meta")
        for module in self._structure.modules():
            if isinstance(module, BatchNorm2d):
                module.in_rows = False
        # Autocast does not reach into vmap: what it does is done here. Convolutions and matrix products are
        # in the lower precision; batch norms take it and give it, but batched ones have no mixed kernel.
        self._cast: set[str] = set()
        for prefix, module in self._structure.named_modules() if self.dtype != torch.float32 else ():
            # a plugin's may do more with its weight
            if type(module) in (nn.Conv2d, StridedPointwise, nn.Linear):
                self._cast |= {f"{prefix}.{name}" for name, _ in module.named_parameters(recurse=False)}
                module.register_forward_pre_hook(lambda _, given: (given[0].to(self.dtype), *given[1:]))
            elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.register_forward_pre_hook(lambda _, given: (given[0].float(), *given[1:]))
                module.register_forward_hook(lambda _, given, output: output.to(self.dtype))

    def __call__(self, inputs: Tensor) -> Tensor:
        def one(parameters: Any, buffers: Any, inputs: Tensor) -> Any:
            return functional_call(self._structure, (parameters, buffers), (inputs,))

        parameters = {
            name: value.to(self.dtype) if name in self._cast else value
            for name, value in self.stacked.items()
        }
        outputs: Tensor = vmap(one, randomness="error")(parameters, self.stacked_buffers, inputs)
        return outputs

    @torch.no_grad()
    def hand_back(self) -> None:
        """Writes every weight and statistic into the model it belongs to."""
        for index, model in enumerate(self.models):
            for name, parameter in model.named_parameters():
                parameter.copy_(self.stacked[name][index])
            for name, buffer in model.named_buffers():
                buffer.copy_(self.stacked_buffers[name][index])


def fit_together(
    seeds: Sequence[Seed], config: TrainConfig, precision: Precision
) -> Iterator[tuple[int, Step | Epoch | DivergedError | None]]:
    """Trains all from where they stand to the end; yields what becomes of each, last None or an error.

    As `fit` for each alone within the accuracy of its sums. Those that are behind catch up alone. A seed that
    diverges or stops early leaves the others to go on.
    """
    task = make_task(seeds[0].loader.dataset.task, config)
    for index, each in enumerate(seeds):
        if not each.state.rows:
            add_untrained_row(each.state, each.loader, config, precision, task)
            yield index, each.state.rows[-1]
    active = dict(enumerate(seeds))
    while active:
        for index, each in list(active.items()):
            if len(each.state.rows) > config.epochs or stops_early(each.state.rows, config):
                del active[index]
                yield index, None
        behind = min((len(each.state.rows) for each in active.values()), default=0)
        now = {index: each for index, each in active.items() if len(each.state.rows) == behind}
        trained = (yield from _steps(now, config, precision)) if now else []
        for (index, each), epoch in zip(now.items(), trained, strict=True):
            try:
                finish_epoch(each.state, each.loader, precision, task, epoch)
            except DivergedError as error:
                del active[index]
                yield index, error
            else:
                yield index, each.state.rows[-1]


def _steps(
    active: Mapping[int, Seed], config: TrainConfig, precision: Precision
) -> Generator[tuple[int, Step], None, list[Trained]]:
    """The steps of an epoch; yields (index, Step) and returns what was trained of each."""
    states = [each.state for each in active.values()]
    loader = next(iter(active.values())).loader
    task = make_task(loader.dataset.task, config)
    epoch, num_steps = len(states[0].rows), loader.num_train_steps
    model = Stacked([state.model.train() for state in states], precision)
    optimizer = _stacked_optimizer(model, states, config)
    losses = torch.zeros((len(states), num_steps), device=loader.device)
    counts = [torch.zeros((), dtype=torch.int64, device=loader.device) for _ in states]
    resizing = config.progressive_resizing
    size = resizing.size_in(epoch, config.epochs) if resizing else None
    num_images, lr, rate = 0, config.lr, learning_rates(config)
    start = last_report = perf_counter()
    batches = [each.loader.train_batches(each.seed, epoch, size) for each in active.values()]
    for step, batch in enumerate(zip(*batches, strict=True)):
        lr = rate(((epoch - 1) * num_steps + step + 0.5) / (config.epochs * num_steps))
        for group in optimizer.param_groups:
            group["lr"] = lr
        logits = model(torch.stack([inputs for inputs, _ in batch]))
        each_loss = [
            task.train_loss(own.float(), targets) for own, (_, targets) in zip(logits, batch, strict=True)
        ]
        torch.stack(each_loss).sum().backward()  # type: ignore[no-untyped-call]
        if config.grad_clip is not None:
            clip_each(list(model.stacked.values()), config.grad_clip)
        optimizer.step()
        forget_gradients(optimizer)
        for place, (own, (_, targets)) in enumerate(zip(logits.detach(), batch, strict=True)):
            losses[place, step] = each_loss[place].detach()
            counts[place] = counts[place] + task.counts(own, targets)
        num_images += len(batch[0][1])
        if (now := perf_counter()) - last_report > STEP_INTERVAL_SECONDS:
            last_report = now
            for index in active:
                yield index, Step(epoch, step + 1, num_steps, num_images, now - start)
    on_cpu = losses.cpu()  # waits for the device: the epoch's time ends here
    seconds = perf_counter() - start
    model.hand_back()
    _hand_back_optimizer(model, optimizer, states)
    return [
        Trained(own, counted, lr, num_images, seconds) for own, counted in zip(on_cpu, counts, strict=True)
    ]


@torch.no_grad()
def clip_each(parameters: Sequence[nn.Parameter], max_norm: float) -> None:
    """`clip_grad_norm_` of each model by itself, of parameters (S, ...)."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = torch.stack([gradient.flatten(1).float().square().sum(1) for gradient in gradients])
    factors = (max_norm / (squares.sum(0).sqrt() + 1e-6)).clamp(max=1.0)  # PyTorch's own formula
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)).to(gradient.dtype))


def _stacked_optimizer(
    model: Stacked, states: Sequence[TrainingState], config: TrainConfig
) -> torch.optim.Optimizer:
    """An optimizer of the stacked parameters with the memory that those of the states have."""
    make_optimizer = catalog.resolve(catalog.OPTIMIZERS[config.optimizer.name])
    optimizer: torch.optim.Optimizer = cast("Any", make_optimizer)(
        [{"params": list(model.stacked.values())}], config.lr, config.weight_decay, **config.optimizer.options
    )
    own = [dict(state.model.named_parameters()) for state in states]
    for name, parameter in model.stacked.items():
        memories = [
            state.optimizer.state.get(named[name], {}) for state, named in zip(states, own, strict=True)
        ]
        for key, value in memories[0].items():
            same = key == "step" or not isinstance(value, Tensor)  # as many steps for all
            stacked = copy.deepcopy(value) if same else torch.stack([memory[key] for memory in memories])
            optimizer.state[parameter][key] = stacked
    return optimizer


def _hand_back_optimizer(
    model: Stacked, optimizer: torch.optim.Optimizer, states: Sequence[TrainingState]
) -> None:
    for index, state in enumerate(states):
        for name, parameter in state.model.named_parameters():
            for key, value in optimizer.state.get(model.stacked[name], {}).items():
                same = key == "step" or not isinstance(value, Tensor)
                own = copy.deepcopy(value) if same else value[index].clone()
                state.optimizer.state[parameter][key] = own
