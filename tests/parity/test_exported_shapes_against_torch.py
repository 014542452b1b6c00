"""What PyTorch's exporter makes of views, sizes, slices and resizes becomes a Network that gives the same numbers."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest

from xpcnn.onnx import load
from xpcnn.onnx.network import OnnxNetwork

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
pytestmark = pytest.mark.parity


class SqueezeExcite(nn.Module):
    """Sizes taken from a tensor, weights broadcast over pictures, arithmetic with numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.less, self.more = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x):
        x = F.relu(self.conv(x))
        n, c, _, _ = x.size()
        w = torch.sigmoid(self.more(F.relu(self.less(x.mean((2, 3)).view(n, c)))))
        x = x * w.view(n, c, 1, 1).expand_as(x)
        return (x / 2.0 + 1.0 - 0.5 * x).view(x.size(0), -1)


class Shuffled(nn.Module):
    """Halves, a channel shuffle by views, pads, slices, pixel shuffle and two ways of resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.branch = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        left, right = self.conv(x).chunk(2, 1)
        x = torch.cat((left, self.branch(right)), 1)
        n, c, h, w = x.size()
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")[:, :, 1:, ::2]
        x = F.interpolate(F.pixel_shuffle(x, 2), scale_factor=2, mode="bilinear", align_corners=False)
        x = F.interpolate(x, size=(7, 9), mode="nearest")
        return torch.logsumexp(torch.flatten(x, 1).reshape(n, 2, -1), 2)


class Decoder(nn.Module):
    """As large as the input again, joined with it; permuted, reduced, repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x):
        y = F.interpolate(self.conv(x), size=x.shape[2:], mode="bilinear", align_corners=True)
        y = torch.cat([x, y], 1).permute(0, 2, 3, 1).mean(3)
        return y.unsqueeze(1).repeat(1, 2, 1, 1).amax((2, 3))


@pytest.mark.parametrize("module", [SqueezeExcite, Shuffled, Decoder])
@pytest.mark.parametrize(("opset", "samples"), [(11, "any"), (17, "any"), (17, "one")])
def test_exported(module, opset: int, samples: str) -> None:
    torch.manual_seed(0)
    net, file = module().eval(), io.BytesIO()
    axes = {"x": {0: "n"}, "y": {0: "n"}} if samples == "any" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one
        torch.onnx.export(net, (torch.zeros(2 if axes else 1, 3, 8, 8),), file, dynamo=False, input_names=["x"],
                          output_names=["y"], dynamic_axes=axes, opset_version=opset)  # fmt: skip
    made = load(file.getvalue())
    assert isinstance(made, OnnxNetwork), made.why
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8)).astype(np.float32)
    want = net(torch.tensor(x)).detach().numpy() if axes else np.concatenate([
        net(torch.tensor(x[i : i + 1])).detach().numpy() for i in range(5)
    ])  # fmt: skip
    # float32, sums of at most 27 terms of about 1
    np.testing.assert_allclose(made.run({"x": x})["y"], want, rtol=1e-5, atol=1e-5)
