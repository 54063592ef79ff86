"""The engine of MOSTLY AI in sequential mode: its flat model for the statics, then a row for each time of a stay, a column a variable.

Times are told as gaps (its TABULAR_DATETIME_RELATIVE). In its favour: one order of columns, which is the easier task, and batches of 8
stays, the least that its own heuristic gives, since with 32 an hour holds but 440 steps. All else is its default. After each mark it
goes on from its best epoch.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from mostlyai import engine
from mostlyai.engine.domain import ModelStateStrategy
from stays import KEY, Clock, Made, long, main, wide

START = pd.Timestamp("2000-01-01")
LEVELS = ("Gender", "ICUType", "died")


def make(stays: pd.DataFrame, events: pd.DataFrame, n: int, seed: int, clock: Clock) -> None:
    engine.set_random_state(seed)
    statics = {name: "TABULAR_CATEGORICAL" if name in LEVELS else "TABULAR_NUMERIC_AUTO" for name in stays.columns if name != KEY}
    steps = wide(events)
    steps["minute"] = START + pd.to_timedelta(steps["minute"], unit="min")
    rows = {name: "TABULAR_NUMERIC_AUTO" for name in steps.columns if name != KEY} | {"minute": "TABULAR_DATETIME_RELATIVE"}
    with tempfile.TemporaryDirectory() as folder:  # it keeps the training data: nothing of it stays
        first, then = Path(folder) / "stays", Path(folder) / "events"
        flat = engine.TabularARGN(tgt_encoding_types=statics, workspace_dir=first, random_state=seed, device="cpu")
        flat.fit(stays.drop(columns=KEY))
        engine.split(
            tgt_data=steps, ctx_data=stays, tgt_context_key=KEY, ctx_primary_key=KEY,
            tgt_encoding_types=rows, ctx_encoding_types=statics, workspace_dir=then,
        )  # fmt: skip
        engine.analyze(workspace_dir=then)
        engine.encode(workspace_dir=then)

        def sample() -> Made:
            made = flat.sample(n)
            made.insert(0, KEY, [f"s{i}" for i in range(len(made))])
            engine.generate(ctx_data=made, workspace_dir=then, device="cpu")
            told = pd.read_parquet(then / "SyntheticData")
            told["minute"] = np.round((pd.to_datetime(told["minute"]) - START) / pd.Timedelta(minutes=1))
            return made, long(told)

        while not clock.over:
            due = False

            def progress(**said: object) -> dict[str, bool]:
                nonlocal due
                due = clock.due()
                if said.get("message"):
                    print(said["message"], flush=True)
                return {"stopExecution": due}

            engine.train(
                workspace_dir=then, enable_flexible_generation=False, batch_size=8, device="cpu", update_progress=progress,
                model_state_strategy=ModelStateStrategy.resume,
            )  # fmt: skip
            clock.write(sample, early=not due)


if __name__ == "__main__":
    main("mostly", make)
