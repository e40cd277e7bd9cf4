"""Resolved settings as plain values: what differs between two of them, and which images they choose."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Settings of data that change how images are fed, and leave them the same ones.
FEEDING = ("batch_size", "augment", "normalize", "image_size")
# Of the images of a run: which are in which split and what is to be predicted of them, and what they show.
DIGESTS = ("digest", "pixels")

Digests = frozenset[tuple[str, str]]  # (name, value)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Each setting that is not the same in both, as "train.epochs 8 → 10"."""
    before, after = flatten(old), flatten(new)
    return [
        difference
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
        for difference in _differences_in(key, before.get(key), after.get(key))
    ]


def _differences_in(key: str, old: Any, new: Any) -> list[str]:
    """Of two lists of the same named tables each option that changed, of others their names alone."""
    names, others = _names(old), _names(new)
    if names is None or others is None:
        return [f"{key} {json.dumps(old)} → {json.dumps(new)}"]
    if names != others:
        return [f"{key} {', '.join(names) or 'none'} → {', '.join(others) or 'none'}"]
    return [
        f"{key}.{name}.{difference}"
        for name, one, other in zip(names, old, new, strict=True)
        for difference in differences(one, other)
    ]


def _names(value: Any) -> list[str] | None:
    """The names in a list of named tables; None of anything else."""
    if not isinstance(value, list) or not all(isinstance(each, Mapping) and "name" in each for each in value):
        return None
    return [str(each["name"]) for each in value]


def same_settings(planned: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for the variants of a plan that are one and the same."""
    named: dict[str, list[str]] = {}
    for each in planned:
        weights = (each.get("winner") or {}).get("weights")
        settings = [each["config"], each["seeds"], each.get("code"), weights]
        named.setdefault(json.dumps(settings, sort_keys=True), []).append(each["name"])
    return [
        f"{', '.join(names)} have the very same settings and seeds: that is one experiment, done "
        f"{'twice' if len(names) == 2 else f'{len(names)} times'}, and no comparison."
        for names in named.values()
        if len(names) > 1
    ]


def choice_of_images(config: Mapping[str, Any]) -> str:
    """The settings that decide which images are in which split: equal texts mean the same images."""
    data = {key: value for key, value in config.get("data", {}).items() if key not in FEEDING}
    return json.dumps(data, sort_keys=True)


def digests_of(images: Mapping[str, Any], config: Mapping[str, Any]) -> Digests:
    """What a result says of its images, as far as it knows; pixels are those of one `image_size`."""
    of_size = {"pixels": f"pixels at {config.get('data', {}).get('image_size')}"}
    known = [name for name in DIGESTS if isinstance(images.get(name), str)]
    return frozenset((of_size.get(name, name), images[name]) for name in known)


def differ(digests: Iterable[tuple[str, str]]) -> bool:
    """Whether one of them has several values: these are not the same images."""
    found = set(digests)
    return len({name for name, _ in found}) < len(found)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
