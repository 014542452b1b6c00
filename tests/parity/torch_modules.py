"""The architectures of xpcnn.models as plain PyTorch modules, with torchvision's names for their parts.

Written from the papers and from the names in torchvision's state_dicts; only for comparison in tests.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

__all__ = ["MODULES", "DenseNet", "GoogLeNet", "MobileNetV2", "ResNet", "ShuffleNetV2", "SqueezeNet", "vgg"]

Module = nn.Module


class Vgg(nn.Module):
    def __init__(self, plan: list[int], norm: bool, classes: int, small: bool) -> None:
        super().__init__()
        parts: list[Module] = []
        C = 3
        for count, width in zip(plan, (64, 128, 256, 512, 512), strict=True):
            for _ in range(count):
                parts.append(nn.Conv2d(C, width, 3, padding=1))
                parts += [nn.BatchNorm2d(width)] if norm else []
                parts.append(nn.ReLU())
                C = width
            parts.append(nn.MaxPool2d(2, ceil_mode=small))
        self.features = nn.Sequential(*parts)
        self.avgpool = nn.Identity() if small else nn.AdaptiveAvgPool2d(7)
        wide = 512 if small else 4096
        first: list[Module] = [nn.Linear(512 if small else 25088, wide), nn.ReLU(), nn.Dropout()]
        second: list[Module] = [] if small else [nn.Linear(wide, wide), nn.ReLU(), nn.Dropout()]
        self.classifier = nn.Sequential(*first, *second, nn.Linear(wide, classes))

    def forward(self, x: Any) -> Any:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def vgg(depth: int, norm: bool = False, classes: int = 1000, small: bool = False) -> Module:
    plans = {11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4]}
    return Vgg(plans[depth], norm, classes, small)


class Basic(nn.Module):
    expansion = 1

    def __init__(self, C: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(C, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = _downsample(C, width, stride)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, C: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(C, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = _downsample(C, 4 * width, stride)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


def _downsample(C: int, out: int, stride: int) -> Module | None:
    if stride == 1 and out == C:
        return None
    return nn.Sequential(nn.Conv2d(C, out, 1, stride, bias=False), nn.BatchNorm2d(out))


class ResNet(nn.Module):
    def __init__(self, depth: int, classes: int = 1000) -> None:
        super().__init__()
        counts = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
        block = Basic if depth < 50 else Bottleneck
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        C = 64
        for stage, count in enumerate(counts):
            blocks = []
            for i in range(count):
                blocks.append(block(C, 64 << stage, 2 if stage and i == 0 else 1))
                C = block.expansion * (64 << stage)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(C, classes)

    def forward(self, x: Any) -> Any:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


class Fire(nn.Module):
    def __init__(self, C: int, squeeze: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(C, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, 4 * squeeze, 1)
        self.expand3x3 = nn.Conv2d(squeeze, 4 * squeeze, 3, padding=1)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    def __init__(self, version: str, classes: int = 1000) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 96, 7, 2) if version == "1_0" else nn.Conv2d(3, 64, 3, 2)
        parts: list[Module] = [stem, nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
        C = 96 if version == "1_0" else 64
        fires = {"1_0": (16, 16, 32, 0, 32, 48, 48, 64, 0, 64), "1_1": (16, 16, 0, 32, 32, 0, 48, 48, 64, 64)}[version]
        for squeeze in fires:  # 0 stands for a pooling
            parts.append(Fire(C, squeeze) if squeeze else nn.MaxPool2d(3, 2, ceil_mode=True))
            C = 8 * squeeze or C
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(C, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Any) -> Any:
        return torch.flatten(self.classifier(self.features(x)), 1)


class DenseLayer(nn.Module):
    def __init__(self, C: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(C), nn.Conv2d(C, 128, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x: Any) -> Any:
        y = self.conv1(torch.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(torch.relu(self.norm2(y)))], 1)


class DenseNet(nn.Module):
    def __init__(self, depth: int, classes: int = 1000) -> None:
        super().__init__()
        counts = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}[depth]
        C = 64
        parts: list[tuple[str, Module]] = [
            ("conv0", nn.Conv2d(3, C, 7, 2, 3, bias=False)),
            ("norm0", nn.BatchNorm2d(C)),
            ("relu0", nn.ReLU()),
            ("pool0", nn.MaxPool2d(3, 2, 1)),
        ]
        for block, count in enumerate(counts, start=1):
            layers = OrderedDict((f"denselayer{i + 1}", DenseLayer(C + 32 * i)) for i in range(count))
            parts.append((f"denseblock{block}", nn.Sequential(layers)))
            C += 32 * count
            if block < len(counts):
                transition = [
                    ("norm", nn.BatchNorm2d(C)),
                    ("relu", nn.ReLU()),
                    ("conv", nn.Conv2d(C, C // 2, 1, bias=False)),
                    ("pool", nn.AvgPool2d(2)),
                ]
                parts.append((f"transition{block}", nn.Sequential(OrderedDict(transition))))
                C //= 2
        parts.append(("norm5", nn.BatchNorm2d(C)))
        self.features = nn.Sequential(OrderedDict(parts))
        self.classifier = nn.Linear(C, classes)

    def forward(self, x: Any) -> Any:
        return self.classifier(torch.relu(self.features(x)).mean(dim=(2, 3)))


class ConvNorm(nn.Module):
    def __init__(self, C: int, filters: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(C, filters, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(filters, eps=1e-3)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, C: int, one: int, a: int, three: int, b: int, five: int, pooled: int) -> None:
        super().__init__()
        self.branch1 = ConvNorm(C, one, 1)
        self.branch2 = nn.Sequential(ConvNorm(C, a, 1), ConvNorm(a, three, 3))
        self.branch3 = nn.Sequential(ConvNorm(C, b, 1), ConvNorm(b, five, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvNorm(C, pooled, 1))

    def forward(self, x: Any) -> Any:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = ConvNorm(3, 64, 7, 2), ConvNorm(64, 64, 1), ConvNorm(64, 192, 3)
        self.pool, self.last_pool = nn.MaxPool2d(3, 2, ceil_mode=True), nn.MaxPool2d(2, 2, ceil_mode=True)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x: Any) -> Any:
        x = self.pool(self.conv3(self.conv2(self.pool(self.conv1(x)))))
        x = self.pool(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.last_pool(self.inception4e(self.inception4d(x)))
        return self.fc(self.inception5b(self.inception5a(x)).mean(dim=(2, 3)))


def _conv_relu6(C: int, filters: int, size: int, stride: int = 1, groups: int = 1) -> Module:
    convolution = nn.Conv2d(C, filters, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.ReLU6())


class InvertedResidual(nn.Module):
    def __init__(self, C: int, channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = C * expansion
        parts = [_conv_relu6(C, wide, 1)] if expansion > 1 else []
        parts += [_conv_relu6(wide, wide, 3, stride, wide), nn.Conv2d(wide, channels, 1, bias=False)]
        self.conv = nn.Sequential(*parts, nn.BatchNorm2d(channels))
        self.adds = stride == 1 and channels == C

    def forward(self, x: Any) -> Any:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        stages = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]
        parts, C = [_conv_relu6(3, 32, 3, 2)], 32
        for expansion, channels, count, stride in stages:
            for i in range(count):
                parts.append(InvertedResidual(C, channels, expansion, 1 if i else stride))
                C = channels
        self.features = nn.Sequential(*parts, _conv_relu6(C, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x).mean(dim=(2, 3)))


class ShuffleUnit(nn.Module):
    def __init__(self, C: int, channels: int, stride: int) -> None:
        super().__init__()
        half = channels // 2
        self.halved = stride == 2
        self.branch1 = nn.Sequential()
        if self.halved:
            self.branch1 = nn.Sequential(
                nn.Conv2d(C, C, 3, 2, 1, groups=C, bias=False),
                nn.BatchNorm2d(C),
                nn.Conv2d(C, half, 1, bias=False),
                nn.BatchNorm2d(half),
                nn.ReLU(),
            )
        self.branch2 = nn.Sequential(
            nn.Conv2d(C if self.halved else half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, stride, 1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
        )

    def forward(self, x: Any) -> Any:
        if self.halved:
            y = torch.cat([self.branch1(x), self.branch2(x)], 1)
        else:
            kept, changed = x.chunk(2, dim=1)
            y = torch.cat([kept, self.branch2(changed)], 1)
        N, C, H, W = y.shape
        return y.view(N, 2, C // 2, H, W).transpose(1, 2).reshape(N, C, H, W)


class ShuffleNetV2(nn.Module):
    def __init__(self, width: str, classes: int = 1000) -> None:
        super().__init__()
        widths = {
            "0_5": (24, 48, 96, 192, 1024),
            "1_0": (24, 116, 232, 464, 1024),
            "1_5": (24, 176, 352, 704, 1024),
            "2_0": (24, 244, 488, 976, 2048),
        }[width]
        C = widths[0]
        self.conv1 = nn.Sequential(nn.Conv2d(3, C, 3, 2, 1, bias=False), nn.BatchNorm2d(C), nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for stage, count in ((2, 4), (3, 8), (4, 4)):
            channels = widths[stage - 1]
            units = [ShuffleUnit(C, channels, 2), *(ShuffleUnit(channels, channels, 1) for _ in range(count - 1))]
            setattr(self, f"stage{stage}", nn.Sequential(*units))
            C = channels
        last = widths[4]
        self.conv5 = nn.Sequential(nn.Conv2d(C, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU())
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Any) -> Any:
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        return self.fc(self.conv5(x).mean(dim=(2, 3)))


# By the names of xpcnn.models.MODELS, for 1,000 classes.
MODULES = {
    **{f"vgg{depth}": lambda depth=depth: vgg(depth) for depth in (11, 13, 16, 19)},
    **{f"vgg{depth}_bn": lambda depth=depth: vgg(depth, norm=True) for depth in (11, 13, 16, 19)},
    **{f"resnet{depth}": lambda depth=depth: ResNet(depth) for depth in (18, 34, 50, 101, 152)},
    **{f"squeezenet{version}": lambda version=version: SqueezeNet(version) for version in ("1_0", "1_1")},
    **{f"densenet{depth}": lambda depth=depth: DenseNet(depth) for depth in (121, 169, 201)},
    "googlenet": GoogLeNet,
    "mobilenet_v2": MobileNetV2,
    **{f"shufflenet_v2_x{width}": lambda width=width: ShuffleNetV2(width) for width in ("0_5", "1_0", "1_5", "2_0")},
}
