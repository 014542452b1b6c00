"""The script that chooses recipes: what it holds out, what it measures, what it prints."""

from __future__ import annotations

import json

import numpy as np
import pytest
import recipes

from xpcnn.data.npz import load_npz

RECIPE = """
[model]
model = "quick"
widths = [4]
hidden_size = 4

[data]
name = "{data}"
augment = "{augment}"

[train]
epochs = 6
batch_size = 16
lr = 0.02
average = 0.5
"""


@pytest.fixture
def folder(tmp_path):
    """a.toml and b.toml, and 120 and 30 striped pictures of three classes; the test pictures have wrong labels."""
    rng = np.random.default_rng(0)
    t = np.arange(120) % 3
    x = rng.integers(0, 60, (120, 8, 8), dtype=np.uint8)
    for picture, label in zip(x, t, strict=True):
        picture[:, 1 + 2 * label : 3 + 2 * label] += 150
    np.savez(tmp_path / "tiny.npz", x_train=x, t_train=t, x_test=x[:30], t_test=(t[:30] + 1) % 3)
    for name, augment in (("a", "none"), ("b", "shift=1")):
        text = RECIPE.format(data=(tmp_path / "tiny.npz").as_posix(), augment=augment)
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


@pytest.mark.parametrize("seed", [0, 1])
def test_held_out_pictures_are_not_trained_on(folder, seed):
    data = load_npz(folder / "tiny.npz")
    part = recipes.held_out(data, 30, seed)
    assert (len(part.x_train), len(part.x_test)) == (90, 30)
    assert (np.bincount(part.t_test) == 10).all()  # of each class as many
    trained, held = ({picture.tobytes() for picture in x} for x in (part.x_train, part.x_test))
    assert not trained & held
    assert trained | held == {picture.tobytes() for picture in data.x_train}


def test_other_seeds_hold_out_others(folder):
    data = load_npz(folder / "tiny.npz")
    first, again, other = (recipes.held_out(data, 30, seed).x_test.tobytes() for seed in (0, 0, 1))
    assert first == again != other


def test_what_it_prints_and_writes(folder, capsys):
    words = [str(folder / "a.toml"), str(folder / "b.toml"), "--seeds", "0,3", "--held-out", "30", "--threads", "1"]
    recipes.main([*words, "--json", str(folder / "out.json")])
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:4]] == ["recipe", "mean accuracy", "deviation"]
    assert lines[2].split("|")[1].strip() == "a"
    assert lines[3].split("|")[1].strip() == "b"
    outcomes = json.loads((folder / "out.json").read_text())["outcomes"]
    assert [(one["name"], one["seed"]) for one in outcomes] == [("a", 0), ("a", 3), ("b", 0), ("b", 3)]
    for one in outcomes:
        # Easy pictures; but the test set's labels are all wrong, and asked for those it would miss nearly all.
        assert one["held_out"] == 30
        assert one["wrong"] < 10
        assert one["seconds"] > 0
        assert f"{one['name']}, seed {one['seed']}: {one['wrong']} of 30 wrong" in printed.err
    accuracies = [1 - one["wrong"] / 30 for one in outcomes[:2]]
    assert f"{np.mean(accuracies):.3%}" in lines[2]
    assert f"{np.std(accuracies, ddof=1):.3%}" in lines[2]


def test_seeds_are_of_everything(folder):
    data = load_npz(folder / "tiny.npz")
    settings = recipes.settings_of(str(folder / "b.toml"), threads=1)
    one, same, other = (recipes.outcome("b", settings, data, 30, seed) for seed in (1, 1, 2))
    assert (one.wrong, one.loss) == (same.wrong, same.loss)
    assert one.loss != other.loss


def test_recipes_by_name():
    settings = recipes.settings_of("fast", epochs=1)
    assert settings["train"]["epochs"] == 1
    assert settings["model"]["model"] == "quick"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "no recipe is called 'nothing'"),
        (["nothing.toml"], "nothing.toml"),
        (["fast", "--seeds", "0,x"], "--seeds takes whole numbers"),
        (["a.toml", "--held-out", "0"], "--held-out lies between 0 and 120"),
        (["a.toml", "--held-out", "120"], "--held-out lies between 0 and 120"),
    ],
)
def test_bad_words(folder, monkeypatch, capsys, words, message):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        recipes.main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
