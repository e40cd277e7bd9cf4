"""From which size of step on do more threads pay? One thread against two, four and so on, by multiply-adds.

    python benchmarks/threads.py

It is what `cnnbench/threads.py` decides by. Images are MNIST's, or noise of their format. Give the machine
nothing else to do; then see with `--beside 1`, which starts a program that keeps a core busy, what threads
cost that wait for each other.
"""

import argparse
import subprocess
import sys
from functools import partial

import torch
from turns import in_turns, positive, ratios, show, spread

from cnnbench import memory
from cnnbench.bench import STANDARD, loops
from cnnbench.bench.measure import first_seeds, images_or_noise
from cnnbench.data import data_root
from cnnbench.models.summary import summarize_config
from cnnbench.precision import choose_precision
from cnnbench.recipe import load_recipe

SIZES = {"mnist-mlp": [16, 32, 64, 128, 256, 512], "mnist-cnn": [4, 8, 16, 32, 128]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=positive, default=5, help="turns that count (5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long a turn is, about (0.5)")
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto", help="number format")
    parser.add_argument("--beside", type=int, default=0, metavar="N", help="programs at work beside it")
    asked = parser.parse_args()
    beside = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(asked.beside)]
    try:
        measure(asked.repeats, asked.precision, asked.seconds)
    finally:
        for each in beside:
            each.kill()


def measure(repeats: int, precision_name: str, seconds: float) -> None:
    device, most = torch.device("cpu"), torch.get_num_threads()
    precision = choose_precision(precision_name, device)
    counts = [count for count in (1, 2, 4, 8, 16, 32) if count <= most]
    memory.keep_freed()
    rows = []
    for variant, sizes in SIZES.items():
        for batch_size in sizes:
            recipe = load_recipe(STANDARD, [f"data.batch_size={batch_size}"], only=[variant])
            (config,) = first_seeds(recipe)
            dataset = images_or_noise(config, data_root(None), [])
            macs = batch_size * summarize_config(config.model, dataset.in_shape, dataset.num_classes).macs
            loop = loops.whole_loop(config, dataset, device, precision)
            num_steps = max(3, min(len(dataset.train), int(seconds * loop(3))) // batch_size)
            ways = {str(count): partial(milliseconds, loop, count, num_steps, batch_size) for count in counts}
            found = in_turns(ways, repeats)
            faster = [spread(ratios(found["1"], found[str(count)])) for count in counts[1:]]
            rows.append([f"{variant}, {batch_size}", f"{macs:,}", spread(found["1"]), *faster])
    torch.set_num_threads(most)
    show(
        f"{precision.name}: how many times as fast more threads are",
        [
            "model, images a step",
            "multiply-adds",
            "one thread (ms)",
            *(f"{count} threads" for count in counts[1:]),
        ],
        rows,
    )


def milliseconds(loop: loops.Measure, num_threads: int, num_steps: int, batch_size: int) -> float:
    """What a step takes."""
    torch.set_num_threads(num_threads)
    return 1000 * batch_size / loop(num_steps)


if __name__ == "__main__":
    main()
