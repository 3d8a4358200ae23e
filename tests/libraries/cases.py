"""What programs do with Ray's libraries; run with ``import ray`` and ``raymq://``, and by hand in other ways."""

from __future__ import annotations

import os
import tempfile

import pytest
import ray

from tests.three_ways.runner import run_all


def quietly():
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    return ray.data


# --- ray.data


def case_data_takes_and_counts():
    data = quietly()
    assert data.range(1000).count() == 1000
    assert data.from_items([{"x": n} for n in range(5)]).take(2) == [{"x": 0}, {"x": 1}]
    assert data.range(100).sum("id") == 4950


def case_data_maps():
    data = quietly()
    doubled = data.range(100).map_batches(lambda batch: {"id": batch["id"] * 2}, batch_size=10)
    assert sorted(row["id"] for row in doubled.take_all()) == list(range(0, 200, 2))
    assert data.range(10).map(lambda row: {"y": row["id"] + 1}).filter(lambda row: row["y"] > 8).count() == 2


def case_data_maps_with_actors():
    data = quietly()

    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, batch):
            return {"id": batch["id"] + self.n}

    added = data.range(20).map_batches(Adder, fn_constructor_args=(100,), concurrency=1, num_cpus=0.1)
    assert sorted(row["id"] for row in added.take_all()) == list(range(100, 120))


def case_data_groups_and_sorts():
    data = quietly()
    items = data.from_items([{"key": n % 3, "value": n} for n in range(30)])
    grouped = items.groupby("key").sum("value").take_all()
    assert {row["key"]: row["sum(value)"] for row in grouped} == {0: 135, 1: 145, 2: 155}
    assert [row["value"] for row in items.sort("value", descending=True).take(2)] == [29, 28]
    assert items.random_shuffle().count() == 30


def case_data_is_iterated_over():
    data = quietly()
    batches = list(data.range(100).iter_batches(batch_size=40, batch_format="numpy"))
    assert [len(batch["id"]) for batch in batches] == [40, 40, 20]
    assert sum(row["id"] for row in data.range(10).iter_rows()) == 45
    materialized = data.range(10).materialize()
    assert materialized.to_pandas()["id"].sum() == 45
    first, second = materialized.split(2)
    assert first.count() + second.count() == 10


def case_data_is_written_and_read():
    data = quietly()
    with tempfile.TemporaryDirectory() as folder:
        data.range(50).write_parquet(folder)
        assert any(name.endswith(".parquet") for name in os.listdir(folder))
        assert data.read_parquet(folder).sum("id") == 1225
    with tempfile.TemporaryDirectory() as folder:
        data.range(50).repartition(2).write_csv(folder)
        assert data.read_csv(folder).count() == 50


def case_data_tells_of_errors():
    def failing(batch):
        raise RuntimeError("no good batch")

    with pytest.raises(Exception, match="no good batch"):
        quietly().range(3).map_batches(failing).take_all()


# --- ray.tune and ray.train


def case_tune_finds_the_best():
    from ray import tune

    def objective(config):
        return {"score": -((config["x"] - 2) ** 2)}

    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            objective,
            param_space={"x": tune.grid_search([1, 2, 3])},
            tune_config=tune.TuneConfig(metric="score", mode="max", max_concurrent_trials=1),
            run_config=tune.RunConfig(storage_path=folder, name="tiny", verbose=0),
        )
        results = tuner.fit()
        assert len(results) == 3
        assert results.get_best_result().config == {"x": 2}


def case_train_trains():
    from ray import train
    from ray.train.data_parallel_trainer import DataParallelTrainer
    from ray.train.v2._internal.constants import is_v2_enabled

    if is_v2_enabled():
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    def loop(config):
        weight = 0.0
        for step in range(3):
            weight += config["rate"]
            with tempfile.TemporaryDirectory() as folder:
                checkpoint = train.Checkpoint.from_directory(folder)  # Train keeps the metrics of these only
                train.report({"step": step, "weight": weight}, checkpoint=checkpoint)

    with tempfile.TemporaryDirectory() as folder:
        trainer = DataParallelTrainer(
            loop,
            train_loop_config={"rate": 0.5},
            scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.5}),
            run_config=train.RunConfig(storage_path=folder, name="toy"),
        )
        assert trainer.fit().metrics["weight"] == 1.5


# --- ray.serve


def case_serve_serves():
    from ray import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Greeter:
        def __call__(self, name):
            return f"hello {name}"

        def count(self, n):
            for number in range(n):
                yield number

    serve.start(proxy_location="Disabled")
    try:
        handle = serve.run(Greeter.bind(), name="greeter", route_prefix=None)
        assert handle.remote("you").result(timeout_s=60) == "hello you"
        again = serve.get_app_handle("greeter")
        assert [again.remote(n).result(timeout_s=60) for n in "ab"] == ["hello a", "hello b"]
        assert serve.status().applications["greeter"].status == "RUNNING"
    finally:
        serve.shutdown()


def case_serve_streams():
    from ray import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Counter:
        def __call__(self, n):
            for number in range(n):
                yield number

    serve.start(proxy_location="Disabled")
    try:
        handle = serve.run(Counter.bind(), name="counter", route_prefix=None)
        assert list(handle.options(stream=True).remote(3)) == [0, 1, 2]
    finally:
        serve.shutdown()


# --- others


def case_joblib_runs():
    import joblib
    from ray.util.joblib import register_ray

    register_ray()
    with joblib.parallel_backend("ray", n_jobs=2, ray_remote_args={"num_cpus": 0}):
        assert joblib.Parallel()(joblib.delayed(pow)(n, 2) for n in range(6)) == [0, 1, 4, 9, 16, 25]


CASES = [name for name in globals() if name.startswith("case_")]

if __name__ == "__main__":
    run_all(globals(), CASES)
