"""Whether a run's directory holds what its settings ask for, and what is to be done where it does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cnnbench.reading import DamagedError
from cnnbench.recipe.defaults import with_defaults
from cnnbench.runs import Run
from cnnbench.settings import differences

if TYPE_CHECKING:
    from cnnbench.recipe.config import RunConfig


@dataclass(frozen=True)
class Decision:
    """What is to be done with a run, and why; "replace" is training anew where an old run stands.

    "take over": there is a run of the same settings under another name (`running.twins`).
    """

    action: Literal["reuse", "resume", "train", "replace", "take over"]
    reason: str


def decide(run: Run, config: "RunConfig", fresh: bool = False, weights: bool = True) -> Decision:
    """Whether a run is reused, resumed or trained, from what its directory holds; nothing is changed.

    Without `weights` it is reused also where its weights are no longer there.
    """
    if not (run.path / "config.json").exists():
        if run.has_files():
            return Decision("replace", "there are files of a run, but no config.json says of which")
        return Decision("train", "not trained yet")
    try:
        changed = differences(run.config(), with_defaults(config.model_dump(mode="json")))
        result = run.result()
        if fresh:
            return Decision("replace", "--fresh was given")
        if changed:
            return Decision("replace", "its settings changed: " + ", ".join(changed))
        if result is None:
            return Decision("resume", "not complete yet")
        if weights:
            run.check()
        else:
            run.check_results()
    except DamagedError as error:
        return Decision("replace", f"a file is damaged: {error}")
    return Decision("reuse", "complete")


def planned_settings(entry: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What a plan asks of a variant's run with this seed: settings, plugin files, weights of its encoder."""
    winner = entry.get("winner")
    weights = winner.get("weights") if isinstance(winner, Mapping) else None
    of_seed = weights.get(str(seed)) if isinstance(weights, Mapping) else None
    weights_asked = {"encoder_weights": of_seed} if of_seed else {}
    return {**entry["config"], "code": entry.get("code", {}), **weights_asked}


def is_complete(run: Run, settings: Mapping[str, Any], weights: bool = False) -> bool:
    """Whether a run of these settings is there to be reported: whole, if asked for with weights."""
    try:
        if run.result() is None:
            return False
        config = run.config()
        if differences({key: config.get(key) for key in settings}, with_defaults(settings)):
            return False
        if weights:
            run.check()
        else:
            run.check_results()
    except DamagedError:
        return False
    return True
