"""Which weights an encoder starts with: of another recipe's runs each seed takes those of the same seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnnbench.errors import CnnbenchError
from cnnbench.reading import DamagedError
from cnnbench.recipe.config import EncoderOf, EncoderWeights, Named, Recipe, Variant, Winner
from cnnbench.recipe.encoders import is_random, tuning_of
from cnnbench.recipe.merging import RUN
from cnnbench.runs import Run


def named_variant(upstream: Recipe, name: str, file: Path, num_seeds: int | None) -> Winner:
    """The variant of a solved recipe that was asked for by name, without its weights."""
    return Winner(
        recipe=upstream.directory,
        file=file.as_posix(),
        num_seeds=num_seeds,
        variant=name,
        model=next(each.model for each in upstream.variants if each.name == name),
        contenders=[],
        reasons=[],
    )


def with_weights(winner: Winner, upstream: Recipe, seeds: Sequence[int], runs_dir: Path) -> Winner:
    """The same with the weights for each of these seeds, and with a sentence on whose they are.

    Where the other recipe has no run of a seed, that of its first seed is taken. Raises CnnbenchError where a
    run has no weights.
    """
    known = next(each.seeds for each in upstream.variants if each.name == winner.variant)
    sources = {seed: seed if seed in known else known[0] for seed in seeds}
    weights = {
        str(seed): _weights(f"{upstream.directory}/{winner.variant}/seed{source}", runs_dir)
        for seed, source in sources.items()
    }
    reasons = [*winner.reasons, *on_seeds(sources)]
    return winner.model_copy(update={"weights": weights, "reasons": reasons})


def _weights(place: str, runs_dir: Path) -> EncoderWeights:
    run = Run(runs_dir / place)
    try:
        if (run.result() or {}).get("status") == "diverged":
            raise CnnbenchError(f"{place} diverged, so it has no weights for an encoder")
        return EncoderWeights(run=place, digest=run.digest())
    except DamagedError as error:  # what is complete is not: it has just been damaged
        raise CnnbenchError(f"the weights of {place} cannot be read: {error}") from error


def on_seeds(sources: dict[int, int]) -> list[str]:
    """Sentences on which seed takes the weights of which."""
    same = [seed for seed, source in sources.items() if seed == source]
    others = [seed for seed, source in sources.items() if seed != source]
    said = []
    if same:
        whose = "its" if len(same) == 1 else "their"
        said.append(f"{_named(same)} {whose} weights from the run with the same seed.")
    if others:
        source = sources[others[0]]
        said.append(f"{_named(others)} weights from the run with seed {source}, for want of one with theirs.")
    if len(sources) > 1 and len(set(sources.values())) == 1:
        said.append("All start from one training: how much another one would change this is unknown.")
    return said


def _named(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"Seed {seeds[0]} has"
    return f"Seeds {', '.join(map(str, seeds))} have"


def with_encoder(variant: Variant, asked: EncoderOf, winner: Winner) -> Variant:
    """The variant with the network of its encoder, as the other recipe has trained it."""
    table = {**variant.model.options[asked.option], "variant": winner.variant}
    options = {**variant.model.options, asked.option: {**table, **winner.model.model_dump(mode="json")}}
    model = Named(name=variant.model.name, **options)
    return variant.model_copy(update={"model": model, "winner": winner})


def never_learned(planned: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence on the variants of a plan whose encoder is frozen with the weights it was made with."""
    names = [
        each["name"]
        for each in planned
        if any(_is_frozen_at_random(option) for option in each["config"]["model"].values())
    ]
    if not names:
        return []
    return [
        f"The encoder of {', '.join(names)} is frozen with random weights, for good or at first: what it "
        "puts out then was learned from nothing. That is a control, and no transfer."
    ]


def _is_frozen_at_random(option: Any) -> bool:
    if not isinstance(option, Mapping) or "name" not in option or RUN in option:
        return False
    return tuning_of(option).frozen(1) and is_random(option)
