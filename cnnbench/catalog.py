"""Everything a recipe can name, and where it lives. To add a unit: write its file, add its line here."""

import ast
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from cnnbench import libraries
from cnnbench.errors import CnnbenchError
from cnnbench.signatures import (
    Option,
    assigns,
    before_star,
    docstring,
    find_definition,
    is_file_target,
    is_foreign,
    read_module,
    signature,
    split_target,
)

__all__ = [
    "Option",
    "before_star",
    "describe",
    "has_stages",
    "is_foreign",
    "names",
    "options",
    "resolve",
    "signature",
    "target",
]

MODELS = {
    "mlp": "cnnbench.models.mlp:MLP",
    "cnn": "cnnbench.models.cnn:CNN",
    "resnet": "cnnbench.models.resnet:ResNet",
    "wide_resnet": "cnnbench.models.wide_resnet:WideResNet",
    "conv_stack": "cnnbench.models.conv_stack:ConvStack",
    "whitened_cnn": "cnnbench.models.whitened_cnn:WhitenedCNN",
    "unet": "cnnbench.models.unet:UNet",
}
LIBRARY_MODEL = "cnnbench.models.pretrained:Pretrained"  # timm/NAME and torchvision/NAME
DATASETS = {
    "cifar10": "cnnbench.data.cifar10:load",
    "mnist": "cnnbench.data.mnist:load",
    "fashion_mnist": "cnnbench.data.fashion_mnist:load",
    "tiny_imagenet": "cnnbench.data.tiny_imagenet:load",
    "digits": "cnnbench.data.digits:load",
    "folder": "cnnbench.data.folder:load",
    "imagenet_samples": "cnnbench.data.imagenet_samples:load",
    "lunar": "cnnbench.data.lunar:load",
    "lunar_synthetic": "cnnbench.data.lunar_synthetic:load",
    "synthetic": "cnnbench.data.synthetic:load",
}
OPTIMIZERS = {
    "sgd": "cnnbench.optimizers:sgd",
    "adam": "cnnbench.optimizers:adam",
    "adamw": "cnnbench.optimizers:adamw",
    "rmsprop": "cnnbench.optimizers:rmsprop",
    "muon": "cnnbench.optimizers:muon",
}
SCHEDULES = {
    "constant": "cnnbench.schedules:constant",
    "cosine": "cnnbench.schedules:cosine",
    "one_cycle": "cnnbench.schedules:one_cycle",
    "step": "cnnbench.schedules:step",
}
AUGMENTATIONS = {
    "PadIfNeeded": "cnnbench.data.augment:PadIfNeeded",
    "RandomCrop": "cnnbench.data.augment:RandomCrop",
    "HorizontalFlip": "cnnbench.data.augment:HorizontalFlip",
    "VerticalFlip": "cnnbench.data.augment:VerticalFlip",
    "AlternatingFlip": "cnnbench.data.augment:AlternatingFlip",
}
ANALYSES = {
    "learning_curves": "cnnbench.analyses.learning_curves:LearningCurves",
    "convergence": "cnnbench.analyses.convergence:Convergence",
    "overfitting": "cnnbench.analyses.overfitting:Overfitting",
    "accuracy_vs_cost": "cnnbench.analyses.accuracy_vs_cost:AccuracyVsCost",
    "layer_summary": "cnnbench.analyses.layer_summary:LayerSummary",
    "confusion_matrix": "cnnbench.analyses.confusion_matrix:ConfusionMatrix",
    "per_class": "cnnbench.analyses.per_class:PerClass",
    "predicted_examples": "cnnbench.analyses.predicted_examples:PredictedExamples",
    "stability": "cnnbench.analyses.stability:Stability",
    "time_to_accuracy": "cnnbench.analyses.time_to_accuracy:TimeToAccuracy",
    "gradient_flow": "cnnbench.analyses.gradient_flow:GradientFlow",
    "activations": "cnnbench.analyses.activations:Activations",
    "feature_maps": "cnnbench.analyses.feature_maps:FeatureMaps",
    "segmentation_examples": "cnnbench.analyses.segmentation_examples:SegmentationExamples",
    "filters": "cnnbench.analyses.filters:Filters",
    "receptive_field": "cnnbench.analyses.receptive_field:ReceptiveField",
    "inference": "cnnbench.analyses.inference:Inference",
    "initialization": "cnnbench.analyses.initialization:Initialization",
    "activation_distribution": "cnnbench.analyses.activation_distribution:ActivationDistribution",
    "signal_propagation": "cnnbench.analyses.signal_propagation:SignalPropagation",
    "zero_shot": "cnnbench.analyses.zero_shot:ZeroShot",
    "layer_check": "cnnbench.analyses.layer_check:LayerCheck",
    "stages": "cnnbench.analyses.stages:Stages",
}

KINDS: dict[str, dict[str, str]] = {
    "model": MODELS,
    "dataset": DATASETS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "augmentation": AUGMENTATIONS,
    "analysis": ANALYSES,
}
# what a plugin file may define, as dicts of name -> class or function
PLUGIN_TABLES = {
    "MODELS": "model",
    "DATASETS": "dataset",
    "ANALYSES": "analysis",
    "AUGMENTATIONS": "augmentation",
}
# parameters that are no options, but get their value from keys of [train] and [data] that all share
NOT_OPTIONS = {"optimizer": ("lr", "weight_decay"), "dataset": ("classes",)}


def target(kind: str, name: str, plugins: tuple[str, ...] | list[str] = ()) -> str:
    """Where a name lives ("module:Name"); `plugins` are absolute paths. Unknown names are KeyErrors."""
    if kind not in KINDS:
        raise ValueError(f"no such kind: {kind}")
    for path in plugins:
        if name in (table := plugin_table(path).get(kind, {})):
            return table[name]
    if name in KINDS[kind]:
        return KINDS[kind][name]
    if kind == "augmentation":
        return libraries.transforms()[name]
    if kind == "model" and libraries.is_model(name):
        return LIBRARY_MODEL
    raise KeyError(name)


def is_library_model(name: str, plugins: Sequence[str] = ()) -> bool:
    """Whether a model is one of timm's or torchvision's, which is built by its name."""
    return libraries.split_name(name) is not None and target("model", name, tuple(plugins)) == LIBRARY_MODEL


def names(kind: str, plugins: tuple[str, ...] | list[str] = ()) -> list[str]:
    """Every name of a kind, ours first; augmentations include albumentations' whole vocabulary."""
    known = dict.fromkeys(KINDS[kind])
    for path in plugins:
        known.update(dict.fromkeys(plugin_table(path).get(kind, {})))
    if kind == "augmentation":
        known.update(dict.fromkeys(libraries.transforms()))
    return list(known)


def names_like(kind: str, name: object, plugins: tuple[str, ...] | list[str] = ()) -> list[str]:
    """The names among which one that is unknown may have been meant: a library's, where it begins so."""
    library = str(name).partition("/")[0]
    if kind == "model" and "/" in str(name) and library in libraries.LIBRARIES:
        return sorted(libraries.model_names(library))
    return names(kind, plugins)


def options(kind: str, name: str, plugins: tuple[str, ...] | list[str] = ()) -> list[Option]:
    """The options a recipe may set for a unit."""
    left_out = NOT_OPTIONS.get(kind, ())
    return [option for option in signature(target(kind, name, plugins)) if option.name not in left_out]


def has_stages(name: str, plugins: tuple[str, ...] | list[str] = ()) -> bool:
    """Whether a model can be an encoder: its constructor sets `self.stages`, or it is one of timm's."""
    found = target("model", name, plugins)
    return name.startswith("timm/") if found == LIBRARY_MODEL else assigns(found, "stages")


def describe(target: str) -> str:
    """The first line of the target's docstring, as plain text."""
    return docstring(target).replace("`", "")


def resolve(target: str) -> Any:
    """Imports and returns the class or function. Raises CnnbenchError where a plugin cannot be imported."""
    module_name, name = split_target(target)
    if is_foreign(target):
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network
    if not is_file_target(target):
        return getattr(importlib.import_module(module_name), name)
    private = f"_cnnbench_plugin_{Path(module_name).stem}_{sha256(module_name.encode()).hexdigest()[:8]}"
    if private not in sys.modules:
        spec = importlib.util.spec_from_file_location(private, module_name)
        if spec is None or spec.loader is None:
            raise CnnbenchError(f"{module_name} cannot be imported as a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[private] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # a script without a guard may end in sys.exit()
            del sys.modules[private]
            raise CnnbenchError(f"{module_name} failed on import: {type(error).__name__}: {error}") from error
    return getattr(sys.modules[private], name)


def plugin_table(path: str) -> dict[str, dict[str, str]]:
    """{kind: {name: target}} that a plugin file defines, read without importing it."""
    module = read_module(path)
    tables: dict[str, dict[str, str]] = {}
    for variable, kind in PLUGIN_TABLES.items():
        value = module.constant(variable)
        if value is None:
            continue
        if not isinstance(value, ast.Dict):
            raise CnnbenchError(_not_written_out(path, value, variable))
        for key, item in zip(value.keys, value.values, strict=True):
            match key, item:
                case ast.Constant(value=str(name)), ast.Name(id=unit):
                    find_definition(f"{path}:{unit}")
                    tables.setdefault(kind, {})[name] = f"{path}:{unit}"
                case _:
                    raise CnnbenchError(_not_written_out(path, item, variable))
    if not tables:
        raise CnnbenchError(f"{path} defines none of {', '.join(PLUGIN_TABLES)}")
    return tables


def _not_written_out(path: str, node: ast.expr, variable: str) -> str:
    return f'{path}:{node.lineno}: {variable} must be written out as {{"name": Class}}'
