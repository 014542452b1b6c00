import math
import tomllib

import pytest

from xpcnn.cli.config import DEFAULTS, image_size, merge, read_config, recipe, save_every, write_config
from xpcnn.errors import ConfigError
from xpcnn.models import make_model
from xpcnn.schedules import make_schedule


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "c.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_reads_its_tables(toml):
    text = '[model]\nmodel = "deep"\nhidden_size = 7\n[data]\nname = "자료"\n[train]\nlr = 1e-3\nsave_every = 50\n'
    assert read_config(toml(text)) == {
        "model": {"model": "deep", "hidden_size": 7},
        "data": {"name": "자료"},
        "train": {"lr": 0.001, "save_every": 50},
    }
    assert read_config(toml("")) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train", "Expected"),
        ("[optimizer]\nlr = 1", r"\[optimizer\] is not one of the tables \[model\], \[data\], \[train\]"),
        ("train = 5", r"\[train\] is not one of"),
        ("[train]\nrate = 1\nspeed = 2", r"\[train\] knows epochs, .*; not rate, speed"),
        ("[data]\nname = 5", r"\[data\] name is a text in quotes, got 5"),
        ("[data]\ndir = 5", "dir is a text"),
        ("[data]\naugment = ['flip']", "augment is a text"),
        ("[train]\noptimizer = 1", "optimizer is a text"),
        ("[train]\nschedule = true", "schedule is a text"),
        ("[train]\ndtype = 32", "dtype is a text"),
        ("[train]\ndevice = 0", "device is a text"),
    ],
)
def test_refuses_with_file_and_reason(toml, text, message):
    with pytest.raises(ConfigError, match=r"c\.toml.*" + message):
        read_config(toml(text))


def test_refuses_what_is_no_text(tmp_path):
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot read .*c\.toml"):
        read_config(tmp_path / "c.toml")
    with pytest.raises(ConfigError, match="nothing.toml"):
        read_config(tmp_path / "nothing.toml")


def test_later_layers_go_over_earlier_ones_and_none_says_nothing():
    merged = merge({"train": {"lr": 0.5, "epochs": 3}}, {"train": {"lr": 0.25, "epochs": None}, "data": {"name": "x"}})
    assert merged["train"] == {**DEFAULTS["train"], "lr": 0.25, "epochs": 3}
    assert merged["data"]["name"] == "x"
    assert merged["model"] == {"model": "simple"}
    assert merge() == DEFAULTS
    merge()["train"]["epochs"] = 1
    assert DEFAULTS["train"]["epochs"] == 20  # the defaults stay what they are


def test_another_model_drops_the_arguments_of_the_first():
    file = {"model": {"model": "simple", "hidden_size": 50, "seed": 3}}
    assert merge(file, {"model": {"model": "deep"}})["model"] == {"model": "deep"}
    assert merge(file, {"model": {"model": "simple"}})["model"] == file["model"]
    assert merge(file, {"model": {"model": None}})["model"] == file["model"]
    assert merge({"model": {"hidden_size": 50}})["model"] == {"model": "simple", "hidden_size": 50}


@pytest.mark.parametrize("key", ["epochs", "batch_size", "seed", "threads", "patience"])
@pytest.mark.parametrize("value", ["3", 2.0, True, [1]])
def test_whole_numbers(key, value):
    with pytest.raises(ConfigError, match=f"{key} is a whole number"):
        merge({"train": {key: value}})


@pytest.mark.parametrize("value", ["3", 2.0, True])
def test_a_models_seed_is_one_too(value):
    with pytest.raises(ConfigError, match="a model's seed is a whole number"):
        merge({"model": {"seed": value}})


@pytest.mark.parametrize("key", ["lr", "weight_decay", "clip_norm", "label_smoothing"])
@pytest.mark.parametrize("value", ["0.1", True, [0.1]])
def test_numbers(key, value):
    with pytest.raises(ConfigError, match=f"{key} is a number"):
        merge({"train": {key: value}})
    assert merge({"train": {key: 1}})["train"][key] == 1


def test_written_and_read_back(tmp_path):
    config = merge({"model": {"conv_param": {"pad": 1}}, "data": {"classes": ["a", "개"]}, "train": {"lr": math.pi}})
    write_config(tmp_path / "c.toml", config)
    assert merge(read_config(tmp_path / "c.toml")) == config
    written = tomllib.loads((tmp_path / "c.toml").read_text(encoding="utf-8"))
    assert "patience" not in written["train"]  # None is left out
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["c.toml"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (None, (None, None)),
        ("500", (500, None)),
        (500, (500, None)),
        (" 1 ", (1, None)),
        ("30s", (None, 30.0)),
        ("5m", (None, 300.0)),
        ("2H", (None, 7200.0)),
    ],
)
def test_save_every(text, want):
    assert save_every(text) == want


@pytest.mark.parametrize("text", ["", "0", "0s", "-5", "1.5", "s", "5d", "5 m 3", "x", "²", "²s", True, 2.5])
def test_save_every_refuses(text):
    with pytest.raises(ConfigError, match="--save-every is a number of steps such as 500 or a time"):
        save_every(text)


@pytest.mark.parametrize("name", ["fast", "best"])
def test_recipes_are_whole_configurations(name):
    settings = merge(recipe(name))
    network = make_model({**settings["model"], "input_dim": [1, 28, 28], "output_size": 10, "seed": 0})
    assert network.config["model"] == "quick"
    make_schedule(settings["train"]["schedule"], settings["train"]["lr"], 100, 10)


def test_an_unknown_recipe():
    with pytest.raises(ConfigError, match="best, fast"):
        recipe("slow")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(value):
    with pytest.raises(ConfigError, match="lr is a finite number"):
        merge({"train": {"lr": value}})


def test_digits_without_end():
    """int refuses more than 4,300 of them with a ValueError of its own."""
    for text in ("9" * 5000, "9" * 5000 + "s"):
        with pytest.raises(ConfigError, match="--save-every"):
            save_every(text)
    for text in ("9" * 5000, "5x" + "9" * 5000):
        with pytest.raises(ConfigError, match="--image-size") as caught:
            image_size(text)
        assert len(str(caught.value)) < 300


def test_strangers_files(toml):
    for text, reason in (
        ("[train]\nlr = " + "[" * 5000, "nested too deep"),
        ("[train]\nseed = 0x" + "f" * 5000, "64 bits"),
        ("[data]\nname = [[1]]", "got a list"),
        ('["\\u001b[2J"]', r"\[\[2J\] is not one of the tables"),
    ):
        with pytest.raises(ConfigError, match=reason) as caught:
            read_config(toml(text))
        assert str(caught.value).isprintable()
