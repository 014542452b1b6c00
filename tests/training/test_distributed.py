"""N ranks, here as threads of one process, make the steps that one process makes."""

import math
import threading

import numpy as np
import pytest

from tests.communication.together import together
from xpcnn import Network, Sequential, Trainer
from xpcnn.data.augment import parse_augment
from xpcnn.errors import DistributedError, TrainingError
from xpcnn.layers import SoftmaxWithLoss, affine, conv, dropout, max_pool
from xpcnn.training.callbacks import Callback, Checkpoints, EarlyStopping, MetricsFiles, Progress

TIMES = ("seconds", "images_per_second")


def pictures(n, seed=1):
    """n pictures (1, 6, 6), and which of three stripes is bright."""
    rng = np.random.default_rng(seed)
    t = rng.permutation(np.arange(n) % 3)
    x = rng.normal(0.0, 0.3, (n, 1, 6, 6)).astype(np.float32)
    for picture, label in zip(x, t, strict=True):
        picture[0, :, 2 * label : 2 * label + 2] += 1.0
    return x, t


def sequential(*layers, seed):
    return lambda dtype: Sequential(layers, (1, 6, 6), seed=seed, dtype=dtype)


NETS = {
    "plain": sequential(conv(4, 3), "relu", max_pool(2), affine(8), "relu", affine(3), seed=3),
    "dropout": sequential(conv(4, 3), "relu", affine(8), dropout(0.4), "relu", affine(3), dropout(0.3), seed=4),
    "batch norm": sequential(
        *(conv(4, 3), "batch_norm", "relu", affine(8), "batch_norm", "relu", affine(3)),
        seed=5,
    ),
    "deep": sequential(
        *(conv(4, 3, pad=1), "relu", conv(4, 3, pad=1), "relu", max_pool(2), conv(6, 3, pad=1), "relu"),
        *(affine(10), "relu", dropout(0.5), affine(3), dropout(0.5)),
        seed=6,
    ),
    "branches": lambda dtype: Network(
        [
            ("a", conv(4, 3, pad=1)),
            ("n", "batch_norm"),
            ("r", "relu"),
            ("b", conv(4, 3, pad=1), "r"),
            ("m", "batch_norm"),
            ("s", "add", ("m", "r")),
            ("o", affine(3)),
        ],
        (1, 6, 6),
        seed=7,
        dtype=dtype,
    ),
}


def trainer_of(net, n=23, distributed=False, loss=None, **more):
    """Batches of 7 of 23 samples: no number of ranks divides them, and the last one has 2."""
    x, t = pictures(n)
    x_test, t_test = pictures(17, seed=2)
    options = {
        "epochs": 2,
        "mini_batch_size": 7,
        "verbose": False,
        "optimizer": "momentum",
        "optimizer_param": {"lr": 0.05},
    }
    if loss is not None:
        net.use_loss(loss)
    return Trainer(net, x, t, x_test, t_test, distributed=distributed, **{**options, **more})


def trained(name, dtype="float64", distributed=False, threads=1, **more):
    net = NETS[name](dtype)
    net.use_threads(threads)
    trainer = trainer_of(net, distributed=distributed, **more)
    trainer.train()
    return trainer


def arrays_of(trainer):
    return {name: a.copy() for name, a in trainer.network.arrays().items()}


def check_close(trainer, single, rtol, atol):
    for name, a in single.network.arrays().items():
        np.testing.assert_allclose(trainer.network.arrays()[name], a, rtol, atol, err_msg=name)
    np.testing.assert_allclose(trainer.train_loss_list, single.train_loss_list, rtol, atol)
    for row, other in zip(trainer.history.rows, single.history.rows, strict=True):
        assert row.keys() == other.keys()
        for key in row.keys() - set(TIMES):
            assert row[key] == pytest.approx(other[key], rel=10 * rtol, abs=atol), key


def check_alike(trainers):
    first, *others = trainers
    for other in others:
        assert other.train_loss_list == first.train_loss_list
        assert [{k: v for k, v in row.items() if k not in TIMES} for row in other.history.rows] == [
            {k: v for k, v in row.items() if k not in TIMES} for row in first.history.rows
        ]
        for name, a in first.network.arrays().items():
            assert other.network.arrays()[name].tobytes() == a.tobytes(), name


# float64: ranks change only the order in which a batch's samples are added, over 8 steps.
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_ranks_make_the_steps_of_one_process(name, size):
    trainers = together(size, lambda ranks: trained(name, distributed=ranks))
    check_alike(trainers)
    check_close(trainers[0], trained(name), rtol=1e-9, atol=1e-11)


def test_one_rank_gives_the_bits_of_one_process():
    for name in NETS:
        (trainer,) = together(1, lambda ranks, name=name: trained(name, "float32", ranks, threads=2))
        check_alike([trained(name, "float32", threads=2), trainer])


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_of_one_thread_give_the_parameters_of_one_process_with_as_many_threads_bit_by_bit(size):
    """Their parts of a batch are the threads' parts, and both are added in the same order."""
    for name in NETS:
        trainers = together(size, lambda ranks, name=name: trained(name, "float32", ranks, mini_batch_size=10))
        single = trained(name, "float32", threads=size, mini_batch_size=10)
        for key, a in single.network.arrays().items():
            assert trainers[0].network.arrays()[key].tobytes() == a.tobytes(), (name, key)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_with_several_threads_each_and_the_same_bits_every_time(threads):
    runs = [together(2, lambda ranks: trained("branches", distributed=ranks, threads=threads)) for _ in range(2)]
    check_alike([*runs[0], *runs[1]])
    check_close(runs[0][0], trained("branches"), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "loss",
    [
        SoftmaxWithLoss(weights=[0.2, 1.0, 3.0]),
        SoftmaxWithLoss(ignore_index=1),
        SoftmaxWithLoss(label_smoothing=0.1),
    ],
    ids=["weights", "ignored labels", "smoothing"],
)
def test_losses_whose_samples_do_not_count_alike(loss):
    trainers = together(3, lambda ranks: trained("plain", distributed=ranks, loss=loss))
    check_alike(trainers)
    check_close(trainers[0], trained("plain", loss=loss), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "more",
    [
        {"augment": parse_augment("shift=1,rotate=10"), "prefetch": 0},
        {"average": 0.9, "schedule": "cosine", "optimizer": "adam", "optimizer_param": {"lr": 0.01, "clip_norm": 0.5}},
        {"evaluate_sample_num_per_epoch": 9, "train_accuracy": "running"},
        {"mini_batch_size": 2},
    ],
    ids=["augmentation", "averages and adam", "evaluation of a few", "batches smaller than ranks"],
)
def test_options_of_a_trainer(more):
    trainers = together(4, lambda ranks: trained("batch norm", distributed=ranks, **more))
    check_alike(trainers)
    # Adam divides by the roots of squares that may be as small as their rounding.
    check_close(trainers[0], trained("batch norm", **more), rtol=1e-6, atol=1e-9)


def test_batch_normalisation_by_each_ranks_own_part():
    """Two ranks whose parts are the same samples: their statistics are the whole batch's, only without a sum."""
    x, t = pictures(8)
    x, t = np.concatenate([x, x]), np.concatenate([t, t])

    def work(ranks):
        net = NETS["batch norm"]("float64")
        trainer = Trainer(net, x, t, verbose=False, mini_batch_size=16, distributed=ranks, sync_batch_norm=False)
        with trainer.team.training(trainer):
            for _ in range(3):
                trainer.step(x, t)
        return trainer, ranks.counts["sum"]

    (a, sums), (b, _) = together(2, work)
    assert sums == 0
    check_alike([a, b])
    single = Trainer(NETS["batch norm"]("float64"), x, t, verbose=False, mini_batch_size=16)
    for _ in range(3):
        single.step(x, t)
    for name, value in single.network.arrays().items():
        np.testing.assert_allclose(a.network.arrays()[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_running_statistics_are_the_mean_over_all_samples_of_unequal_parts():
    x, t = pictures(3)

    def work(ranks):
        net = Sequential(["batch_norm", affine(3)], (1, 6, 6), seed=0, dtype="float64")
        trainer = Trainer(net, x, t, verbose=False, mini_batch_size=3, distributed=ranks, sync_batch_norm=False)
        with trainer.team.training(trainer):
            trainer.step(x, t)
        return next(iter(net.state.values())).copy()

    found = together(2, work)  # parts of 1 and 2 samples
    assert found[0].tobytes() == found[1].tobytes()
    np.testing.assert_allclose(found[0], 0.1 * x.astype(np.float64).mean(), rtol=1e-12)


def test_gradients_go_in_buckets_and_their_order_is_the_same_everywhere(monkeypatch):
    monkeypatch.setattr("xpcnn.executors.exchange.BUCKET", 64)

    def work(ranks):
        trained("deep", distributed=ranks, threads=2, epochs=1)
        return ranks.begun

    first, *others = together(3, work)
    assert all(other == first for other in others)
    assert len(first) > 4 * 4  # four steps of several buckets each


def test_each_rank_gives_its_part_or_the_whole_batch():
    x, t = pictures(7)

    def work(ranks):
        net = NETS["plain"]("float64")
        trainer = trainer_of(net, distributed=ranks)
        with trainer.team.training(trainer):
            whole = trainer.step(x, t)
            parts = trainer.step(x[trainer.team.part(7)], t)
        return float(whole), float(parts)

    single = trainer_of(NETS["plain"]("float64"))
    expected = [float(single.step(x, t)), float(single.step(x, t))]
    for found in together(2, work):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


# -- ends ------------------------------------------------------------------------------------------------------------


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, trainer):
        if trainer.step_count == self.step:
            trainer.stop_reason = "enough"


def test_who_wants_to_stop_stops_all_after_the_same_step():
    def work(ranks):
        callbacks = [StopAt(1)] if ranks.rank == 1 else []
        trainer = trained("plain", distributed=ranks, callbacks=callbacks)
        return trainer.step_count, trainer.batch, trainer.stop_reason

    assert together(3, work) == [(2, 2, "enough")] * 3


def test_a_wish_that_comes_with_the_last_step_of_an_epoch_ends_all_there():
    def work(ranks):
        trainer = trained("plain", distributed=ranks, callbacks=[StopAt(4)] if ranks.rank == 2 else [])
        return trainer.epoch, trainer.batch, trainer.step_count, trainer.stop_reason

    assert together(3, work) == [(1, 0, 4, "enough")] * 3


def test_early_stopping_looks_at_the_figures_of_all():
    def work(ranks):
        early = EarlyStopping(patience=1, min_delta=100.0)
        trainer = trained("plain", distributed=ranks, callbacks=[early], epochs=9)
        return trainer.epoch, trainer.stop_reason

    single = trained("plain", callbacks=[EarlyStopping(patience=1, min_delta=100.0)], epochs=9)
    assert together(2, work) == [(single.epoch, single.stop_reason)] * 2
    assert single.epoch == 2


def test_only_the_first_prints_and_writes(tmp_path, capsys):
    (tmp_path / "0").mkdir()

    def work(ranks):
        trainer = trained(
            "plain",
            distributed=ranks,
            verbose=True,
            callbacks=[MetricsFiles(tmp_path / str(ranks.rank)), Checkpoints(tmp_path / str(ranks.rank))],
        )
        return [type(c).__name__ for c in trainer.callbacks]

    first, second = together(2, work)
    assert {"Progress", "MetricsFiles", "Checkpoints"} <= set(first)
    assert second == ["NanGuard"]
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert Progress.first_only


def test_a_loss_that_is_not_finite_is_the_same_error_on_all_ranks():
    def work(ranks):
        with pytest.raises(TrainingError) as caught, np.errstate(all="ignore"):
            trained("plain", "float32", distributed=ranks, optimizer="sgd", optimizer_param={"lr": 1e30}, epochs=9)
        return str(caught.value)

    first, second = together(2, work)
    assert first == second
    assert "is nan" in first or "is inf" in first


def test_the_cause_is_found_by_the_rank_that_has_it():
    x, t = pictures(7)
    x[6, 0, 0, 0] = math.nan

    def work(ranks):
        trainer = trainer_of(NETS["plain"]("float64"), distributed=ranks)
        with trainer.team.training(trainer), pytest.raises(TrainingError) as caught, np.errstate(all="ignore"):
            trainer.step(x, t)
        return str(caught.value)

    assert all("the batch itself holds NaN" in text for text in together(3, work))


# -- what must be alike ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer_param": {"lr": 0.1}}, "configuration: optimizer is 'Momentum\\(.*lr=0.1"),
        ({"mini_batch_size": 8}, "configuration: mini_batch_size is '8' there and '7' on rank 0"),
        ({"seed": 4}, "configuration: seed is '4' there"),
        ({"augment": parse_augment("flip")}, "configuration: augment is"),
        ({"average": 0.5}, "configuration: average is '0.5' there and 'None'"),
        ({"sync_batch_norm": False}, "configuration: sync_batch_norm is 'False' there"),
        ({"loss": SoftmaxWithLoss(0.1)}, "configuration: loss is"),
        ({"schedule": "cosine"}, "configuration: schedule is"),
        ({"n": 24}, "configuration: samples is '24' there and '23' on rank 0"),
    ],
)
def test_ranks_that_were_told_differently_do_not_start(change, words):
    def work(ranks):
        with pytest.raises(DistributedError, match=f"rank 1 on b differs from rank 0 on a in its {words}") as caught:
            trainer_of(NETS["plain"]("float32"), distributed=ranks, **(change if ranks.rank == 1 else {})).train()
        return str(caught.value)

    first, second, third = together(3, work, hosts=["a", "b", "c"])
    assert first == second == third


def test_ranks_with_other_data_versions_or_parameters_do_not_start(monkeypatch):
    def data(ranks):
        trainer = trainer_of(NETS["plain"]("float32"), distributed=ranks)
        if ranks.rank == 1:
            trainer.loader.x[0] += 1.0
        trainer.train()

    def parameters(ranks):
        net = NETS["plain"]("float32")
        if ranks.rank == 1:
            net.params["affine2.b"][0] = 1.0
        trainer_of(net, distributed=ranks).train()

    def versions(ranks):
        trainer_of(NETS["plain"]("float32"), distributed=ranks).train()

    with pytest.raises(DistributedError, match="its data: training is .*float32"):
        together(2, data)
    with pytest.raises(DistributedError, match="its state: parameters' checksum"):
        together(2, parameters)
    monkeypatch.setattr(
        "xpcnn.training.distributed_facts.versions",
        lambda network: {"NumPy": threading.current_thread().name, "threads": threading.current_thread().name},
    )
    with pytest.raises(DistributedError, match="its versions: NumPy is 'Thread"):
        together(2, versions)


def test_ranks_whose_parameters_have_drifted_apart_stop_at_the_epochs_end():
    class Break(Callback):
        def on_step_end(self, trainer):
            if trainer.step_count == 2:
                trainer.network.params["affine2.b"][0] += 1e-6

    def work(ranks):
        trained("plain", "float32", ranks, callbacks=[Break()] if ranks.rank == 1 else [])

    with pytest.raises(DistributedError, match="parameters of rank 1 are no longer those of rank 0 after step 4"):
        together(2, work)


def test_a_run_goes_on_with_another_number_of_ranks():
    more = {"optimizer": "adam", "optimizer_param": {"lr": 0.01}, "average": 0.9, "epochs": 3}
    whole = trained("dropout", **more)

    def first(ranks):
        return trained("dropout", distributed=ranks, callbacks=[StopAt(5)], **more).state()

    def rest(ranks):
        trainer = trainer_of(NETS["dropout"]("float64"), distributed=ranks, **more)
        trainer.load_state(*state)
        trainer.train()
        return trainer

    state = together(3, first)[0]
    assert (state[1]["epoch"], state[1]["batch"], state[1]["step_count"]) == (1, 2, 6)
    for size in (1, 2):
        trainers = together(size, rest)
        check_alike(trainers)
        check_close(trainers[0], whole, rtol=1e-6, atol=1e-9)
    alone = trainer_of(NETS["dropout"]("float64"), **more)
    alone.load_state(*state)
    alone.train()
    check_close(alone, whole, rtol=1e-6, atol=1e-9)
