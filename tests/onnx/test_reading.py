"""From bytes to a checked model: what is sound comes through, what is not is refused in words."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.onnx.making import model, node, save, small_cnn
from xpcnn.errors import CheckpointError
from xpcnn.onnx import operators  # noqa: F401  (registers the translators)
from xpcnn.onnx.call import UnsupportedOperator
from xpcnn.onnx.reading import read_model


def test_a_sound_model_by_path_bytes_and_proto(tmp_path):
    proto = small_cnn()
    path = save(proto, tmp_path / "cnn.onnx")
    for source in (path, str(path), path.read_bytes(), proto):
        read = read_model(source)
        assert [(v.name, v.dtype, v.shape) for v in read.inputs] == [("x", np.float32, (None, 1, 6, 6))]
        assert [v.name for v in read.outputs] == ["y"]
        assert [step.op for step in read.steps] == ["Conv", "Relu", "MaxPool", "Flatten", "Gemm", "Softmax"]
        assert [step.version for step in read.steps] == [11, 14, 12, 13, 13, 13]
        assert read.steps[2].attributes["kernel_shape"] == [2, 2]
        assert read.constants["W"].shape == (3, 1, 3, 3)


def test_initializers_named_as_inputs_are_no_inputs():
    proto = small_cnn()  # as files of IR version 3 have it
    proto.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [3, 1, 3, 3]))
    assert [v.name for v in read_model(proto).inputs] == ["x"]


def relu_chain(*names: str):
    """Relu from each name to the next."""
    return [node("Relu", [a], [b], f"r{i}") for i, (a, b) in enumerate(itertools.pairwise(names))]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("Add", ["x", "b"], ["a"], "one"), node("Relu", ["a"], ["b"], "two")], "'one' takes 'b'.*a cycle"),
        ([node("Relu", ["x"], ["b"], "self"), node("Add", ["q", "q"], ["q"], "own")], "'own' takes 'q'.*a cycle"),
        (relu_chain("nowhere", "b"), "'r0' takes 'nowhere', which nothing gives"),
        (relu_chain("x", "c"), "'b' are given by nothing"),
        ([*relu_chain("x", "b"), node("Relu", ["x"], ["b"], "again")], "'b' is given twice.*'again'"),
        ([node("Relu", ["x"], ["x"], "over")], "'x' is given twice.*'over'"),
    ],
)
def test_cycles_and_names_that_dangle_are_refused(nodes, words):
    with pytest.raises(CheckpointError, match=words):
        read_model(model(nodes, {"x": [1, 2]}, ["b"]))


def test_operators_that_are_not_known_are_named():
    proto = model([node("StringNormalizer", ["x"], ["y"], "words")], {"x": [1]}, ["y"], kind=TensorProto.STRING)
    with pytest.raises(UnsupportedOperator, match="node 'words': operator 'StringNormalizer' is not one that xpcnn"):
        read_model(proto)
    proto = model([node("Relu", ["x"], ["y"], "mine", domain="org.example")], {"x": [1]}, ["y"])
    with pytest.raises(UnsupportedOperator, match="node 'mine': operator 'org.example.Relu'"):
        read_model(proto)
    with pytest.raises(UnsupportedOperator, match="'g': operator 'Gelu' does not exist in opset 17"):
        read_model(model([node("Gelu", ["x"], ["y"], "g")], {"x": [1, 2]}, ["y"]))


def test_meanings_that_are_not_known_are_refused():
    proto = model([node("Upsample", ["x", "x"], ["y"], "up")], {"x": [1, 2]}, ["y"])  # withdrawn in opset 10
    with pytest.raises(UnsupportedOperator, match="'up': operator 'Upsample' has the meaning it got in opset 10"):
        read_model(proto)


def test_attributes_that_are_not_the_operator_s_are_refused():
    with pytest.raises(CheckpointError, match="colour"):
        read_model(model([node("Relu", ["x"], ["y"], colour=3)], {"x": [1, 2]}, ["y"]))
    with pytest.raises(CheckpointError, match="Conv"):  # an operator with too few inputs
        read_model(model([node("Conv", ["x"], ["y"])], {"x": [1, 1, 5, 5]}, ["y"]))


@pytest.mark.parametrize("content", [b"", b"\x00", b"GIF89a", b"\xff" * 100, small_cnn().SerializeToString()[:-40]])
def test_files_that_are_no_onnx(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(CheckpointError):
            read_model(source)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_model(tmp_path / "missing.onnx")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_model(tmp_path)


def test_tensors_whose_numbers_do_not_fit_their_shape():
    proto = small_cnn()
    proto.graph.initializer[0].dims[0] = 10**12
    with pytest.raises(CheckpointError, match="not a sound ONNX model"):
        read_model(proto)
    proto.graph.initializer[0].dims[0] = -3
    with pytest.raises(CheckpointError, match="shape"):
        read_model(proto)


class TestExternalData:
    """Numbers beside the model's file, and nowhere else."""

    def saved(self, folder, **changes):
        proto = small_cnn()
        onnx.save_model(proto, str(folder / "m.onnx"), save_as_external_data=True, location="m.bin", size_threshold=0)
        proto = onnx.load_model(str(folder / "m.onnx"), load_external_data=False)
        entries = {entry.key: entry for entry in proto.graph.initializer[0].external_data}
        for key, value in changes.items():
            entries[key].value = value
        (folder / "m.onnx").write_bytes(proto.SerializeToString())
        return folder / "m.onnx"

    def test_beside_the_file(self, tmp_path):
        read = read_model(self.saved(tmp_path))
        for tensor in small_cnn().graph.initializer:
            np.testing.assert_array_equal(read.constants[tensor.name], numpy_helper.to_array(tensor))

    @pytest.mark.parametrize("location", ["/etc/passwd", "../secret.bin", "sub/../../secret.bin", "missing.bin", ""])
    def test_elsewhere(self, tmp_path, location):
        folder = tmp_path / "models"
        folder.mkdir()
        (tmp_path / "secret.bin").write_bytes(bytes(4096))
        with pytest.raises(CheckpointError, match="no file beside the model"):
            read_model(self.saved(folder, location=location))

    def test_a_link_that_leads_elsewhere(self, tmp_path):
        folder = tmp_path / "models"
        folder.mkdir()
        (tmp_path / "secret.bin").write_bytes(bytes(4096))
        path = self.saved(folder)
        (folder / "m.bin").unlink()
        (folder / "m.bin").symlink_to(tmp_path / "secret.bin")
        with pytest.raises(CheckpointError, match="no file beside the model"):
            read_model(path)

    @pytest.mark.parametrize("changes", [{"offset": "4096"}, {"offset": "-4"}, {"length": "4"}, {"length": "x"}])
    def test_parts_that_are_not_there(self, tmp_path, changes):
        with pytest.raises(CheckpointError):
            read_model(self.saved(tmp_path, **changes))

    def test_bytes_have_no_folder(self, tmp_path):
        with pytest.raises(CheckpointError, match="load the model by its path"):
            read_model(self.saved(tmp_path).read_bytes())
