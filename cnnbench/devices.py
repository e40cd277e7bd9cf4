"""What a run was trained on, as its result says: runs whose times compare have the same line."""


def described(device: object) -> str:
    """One line for a device: `cpu, Intel Xeon`. Threads are left out: they follow from the model.

    Runs that shared it with others say so, for their times do not compare with those that did not.
    """
    entries = device if isinstance(device, dict) else {}
    parts = [str(entries[key]) for key in ("type", "name") if entries.get(key)]
    at_a_time = entries.get("at_a_time")
    if isinstance(at_a_time, int) and at_a_time > 1:
        parts.append(f"{at_a_time} runs at a time")
    seeds = entries.get("seeds_in_one")
    if isinstance(seeds, int) and seeds > 1:
        parts.append(f"{seeds} seeds as one model")
    if entries.get("recorded") is True:
        parts.append("steps recorded")
    return ", ".join(parts) or "unknown"
