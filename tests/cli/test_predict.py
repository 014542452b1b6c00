"""`xpcnn predict`: classes and probabilities as the network itself gives them, and what happens to bad pictures."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from xpcnn.cli.config import write_config
from xpcnn.cli.main import app
from xpcnn.models import make_model


@pytest.fixture(scope="module")
def pictures():
    """Three pictures like MNIST's: light ink on dark paper, uint8 (3, 1, 28, 28)."""
    x = np.zeros((3, 1, 28, 28), np.uint8)
    x[0, 0, 5:24, 13:16] = 255
    x[1, 0, 6:9, 7:21] = x[1, 0, 9:23, 18:21] = 230
    x[2, 0, 8:20, 8:20] = np.random.default_rng(0).integers(100, 256, (12, 12))
    return x


@pytest.fixture(scope="module")
def network():
    net = make_model("simple", seed=1, weight_init_std="he", hidden_size=8, conv_param={"filter_num": 3})
    net.params["b3"] = np.linspace(-1, 1, 10, dtype=np.float32)
    return net


@pytest.fixture
def source(tmp_path, network):
    path = tmp_path / "net.safetensors"
    network.save_params(path)
    return path


@pytest.fixture
def files(tmp_path, pictures):
    paths = [tmp_path / f"p{i}.png" for i in range(3)]
    for path, x in zip(paths, pictures, strict=True):
        Image.fromarray(x[0]).save(path)
    return paths


def want(network, pictures):
    """Probabilities (N, K) by the definition of softmax, in float64."""
    scores = np.asarray(network.predict(pictures / np.float32(255)), np.float64)
    e = np.exp(scores)
    return e / e.sum(axis=1, keepdims=True)


def run(*args):
    return CliRunner().invoke(app, ["predict", *map(str, args)])


def run_json(*args):
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_line_each_with_class_and_probability(source, files, network, pictures):
    result = run(source, *files)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    for line, path, p in zip(lines, files, want(network, pictures), strict=True):
        first, second, third = np.argsort(-p)[:3]
        assert line.startswith(f"{path}: {first} ({p[first]:.2%})")
        assert line.endswith(f"{second} ({p[second]:.2%}), {third} ({p[third]:.2%})")


@pytest.mark.parametrize("top", [1, 4, 99])
def test_top(source, files, network, pictures, top):
    found = run_json(source, *files, "--top", top)
    for item, path, p in zip(found, files, want(network, pictures), strict=True):
        order = np.argsort(-p)[:top]
        assert item["file"] == str(path)
        assert item["label"] == order[0]
        assert [entry["label"] for entry in item["top"]] == list(order)
        # float32 scores of the same network in another batch: a few units in the last place
        assert [entry["probability"] for entry in item["top"]] == pytest.approx(list(p[order]), rel=1e-4)


@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (3, 28, 28), (3, 784)])
def test_array_of_several_gives_a_line_each(tmp_path, source, network, pictures, shape):
    path = tmp_path / "many.npy"
    np.save(path, pictures.reshape(shape))
    result = run(source, path, "--top", 1)
    p = want(network, pictures)
    assert result.stdout.splitlines() == [f"{path}[{i}]: {p[i].argmax()} ({p[i].max():.2%})" for i in range(3)]


def test_dark_ink_on_light_paper(tmp_path, source, network, pictures):
    path = tmp_path / "dark.png"
    Image.fromarray(255 - pictures[1, 0]).save(path)
    for invert, x in (("auto", pictures[1:2]), ("yes", pictures[1:2]), ("no", 255 - pictures[1:2])):
        (item,) = run_json(source, path, "--invert", invert)
        assert item["probability"] == pytest.approx(want(network, x).max(), rel=1e-4)


def test_larger_picture_is_centered_as_mnist_for_digits_only(tmp_path, source, network, pictures):
    path = tmp_path / "large.png"
    canvas = np.zeros((300, 200), np.uint8)
    canvas[30:90, 100:180] = np.kron(pictures[2, 0, 8:20, 8:20], np.ones((5, 5), np.uint8))[:, :40].repeat(2, axis=1)
    Image.fromarray(canvas).save(path)
    found = {center: run_json(source, path, "--center", center)[0]["top"] for center in ("auto", "yes", "no")}
    assert found["auto"] == found["yes"] != found["no"]
    write_config(tmp_path / "config.toml", {"data": {"name": "fashion-mnist"}})
    assert run_json(source, path)[0]["top"] == found["no"]


def test_class_names_from_the_run_and_from_the_command(tmp_path, network, files, pictures):
    network.save_params(tmp_path / "model.safetensors")
    names = [f"class {k}" for k in range(10)]
    write_config(tmp_path / "config.toml", {"data": {"name": "mnist", "classes": names}})
    labels = want(network, pictures).argmax(axis=1)
    assert [item["class"] for item in run_json(tmp_path, *files)] == [names[k] for k in labels]
    given = "a,b,c,d,e,f,g,h,i,j"
    assert [item["class"] for item in run_json(tmp_path, *files, "--classes", given)] == [given[2 * k] for k in labels]


def test_a_bad_picture_does_not_stop_the_others(tmp_path, source, files):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    result = run(source, files[0], bad, tmp_path / "missing.png", files[2], "--top", 1)
    assert result.exit_code == 2
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [str(files[0]), str(files[2])]
    errors = result.stderr.splitlines()
    assert len(errors) == 2
    assert f"{bad}: not a picture" in errors[0]
    assert f"{tmp_path / 'missing.png'}: there is no such file" in errors[1]
    result = run(source, bad, files[2], "--json")
    assert result.exit_code == 2
    first, second = json.loads(result.stdout)
    assert first["file"] == str(bad)
    assert "not a picture" in first["error"]
    assert "label" in second


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--top", "0"], "--top is at least 1, got 0"),
        (["--classes", "a,b"], "--classes wants 10 names with commas between, got 'a,b'"),
        (["--invert", "maybe"], "maybe"),
        (["--model", "nonesuch"], "no model is called 'nonesuch'"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_bad_arguments(source, files, args, message):
    result = run(source, files[0], *args)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not result.stdout


def test_bad_sources(tmp_path, files, network):
    assert run(tmp_path / "none.safetensors", files[0]).exit_code == 2
    assert run(tmp_path, files[0]).exit_code == 2
    plain = tmp_path / "net.pkl"
    network.save_params(plain)
    result = run(plain, files[0])
    assert result.exit_code == 2
    assert "does not say which model" in result.stderr


def test_spoilt_parameters(tmp_path, files):
    net = make_model("simple", seed=0, hidden_size=4, conv_param={"filter_num": 2})
    net.params["b3"] = np.full(10, np.nan, np.float32)
    net.save_params(tmp_path / "nan.safetensors")
    result = run(tmp_path / "nan.safetensors", files[0])
    assert result.exit_code == 2
    assert "not finite" in result.stderr
