"""First weights against their declaration: the sampling error by hand, and the table of a real run."""

import math
from typing import Any

import pytest

from cnnbench.analyses.initialization import Drawn, Initialization, standard_error

DATA = {"name": "synthetic", "num_images": 40, "height": 8, "width": 8}


def test_sampling_error_by_hand() -> None:
    assert standard_error(201) == pytest.approx(0.1)  # sqrt(2 / 200)
    assert standard_error(1) == math.inf


def test_deviations_in_standard_errors() -> None:
    drawn = Drawn(201, 9, 9, [1.1, 1.7, 2.0], [1.0, 2.0, None])
    assert drawn.ratios == pytest.approx([1.1, 0.85])
    assert drawn.furthest == pytest.approx(-1.5)


def test_the_table_of_declared_and_own_weights(model_run: Any, subject_from: Any) -> None:
    model = {"name": "conv_stack", "widths": [16, 16, 16]}
    init = {"scheme": "he", "scale": 1.0, "variance": {"layer3": "2 * layer2"}}
    runs = [
        model_run("own", model, DATA),
        *(model_run("he", {**model, "init": init}, DATA, seed=s) for s in (0, 1)),
    ]
    (table,) = Initialization().analyse(subject_from(runs))
    rows = {(row[0], row[1]): dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["own", "layer2"]["declared"] is None
    assert rows["own", "layer2"]["drawn / declared"] is None
    found = rows["he", "layer3"]
    assert (found["weights"], found["fan in"], found["fan out"]) == (2304, 144, 144)
    assert found["declared"] == f"{4 / 144:.4g}"
    assert found["sampling error (%)"] == f"{100 * math.sqrt(2 / 2303):.2f}"
    assert float(str(found["drawn / declared"])) == pytest.approx(1, abs=0.1)
    assert abs(float(str(found["furthest seed (standard errors)"]))) < 4
    assert "Of 8 drawn variances none lie more than 3 standard errors" in table.caption


def test_without_a_declaration_it_says_so(model_run: Any, subject_from: Any) -> None:
    (table,) = Initialization().analyse(subject_from([model_run("own", {"name": "mlp"})]))
    assert "No variant declares a variance (init), so" in table.caption


def test_a_formula_over_the_models_own_weights(model_run: Any, subject_from: Any) -> None:
    """Under the scheme "default" it sees the weights as PyTorch drew them for that seed, once scaled."""
    init = {"scheme": "default", "scale": 3.0, "variance": {"layer3": "layer2"}}
    model = {"name": "conv_stack", "widths": [16, 16, 16], "init": init}
    (table,) = Initialization().analyse(subject_from([model_run("a", model, DATA)]))
    rows = {row[1]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert float(str(rows["layer3"]["declared"])) == pytest.approx(
        float(str(rows["layer2"]["drawn"])), rel=1e-3
    )
