"""Small classifiers that spell their rectifiers, branches and sizes in the ways real networks do."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Plain(nn.Module):
    """Every rectifier a module of its own; global average pooling and a linear head."""

    def __init__(self, act: type[nn.Module] = nn.ReLU, inplace: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            act(inplace=inplace),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            act(inplace=inplace),
            nn.Conv2d(12, 16, 3, stride=2),
            act(inplace=inplace),
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class InPlace(Plain):
    """The same network with in-place rectifiers."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU, inplace=True)


class Six(Plain):
    """The same network with ReLU6, as in the MobileNet and EfficientNet-lite families."""

    def __init__(self) -> None:
        super().__init__(nn.ReLU6)


class Reused(Plain):
    """The same network with one rectifier module used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)
        convolutions = [m for m in self.features if not isinstance(m, nn.ReLU)]
        self.features = nn.Sequential(*convolutions)

    def forward(self, x: Tensor) -> Tensor:
        conv1, pool, conv2, norm, conv3 = self.features
        x = self.act(norm(conv2(pool(self.act(conv1(x))))))
        return self.head(self.act(conv3(x)).mean((2, 3)))


class Functional(Reused):
    """The same network with functional rectifiers, each spelt differently."""

    def forward(self, x: Tensor) -> Tensor:
        conv1, pool, conv2, norm, conv3 = self.features
        x = torch.relu_(norm(conv2(pool(F.relu(conv1(x))))))
        return self.head(conv3(x).clamp(min=0).mean((2, 3)))


class FunctionalSix(Reused):
    """ReLU6 as functions."""

    def forward(self, x: Tensor) -> Tensor:
        conv1, pool, conv2, norm, conv3 = self.features
        x = F.hardtanh(norm(conv2(pool(F.relu6(conv1(x))))), 0.0, 6.0)
        return self.head(F.relu6(conv3(x), inplace=True).mean((2, 3)))


class Branches(nn.Module):
    """A residual block, two parallel branches, flatten and fully connected layers: images of 19 × 23 only."""

    def __init__(self, act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.stem, self.act0 = nn.Conv2d(3, 6, 5, stride=2), act()
        self.inner, self.act1 = nn.Conv2d(6, 6, 3, padding=1), act()
        self.left, self.act2 = nn.Conv2d(6, 4, 1), act()
        self.right, self.act3 = nn.Conv2d(6, 4, 3, padding=1, groups=2), act()
        self.fc1, self.act4, self.fc2 = nn.Linear(8 * 4 * 5, 10), act(), nn.Linear(10, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act0(self.stem(x))  # (N, 6, 8, 10)
        x = self.act1(self.inner(x) + x)
        x = torch.cat([self.act2(self.left(x)), self.act3(self.right(x))], 1)
        x = F.max_pool2d(x, 2).flatten(1)
        return self.fc2(self.act4(self.fc1(x)))


class Linear(nn.Module):
    """A linear classifier: its gradient is its weights, everywhere."""

    def __init__(self, size: int = 6) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * size * size, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


class Smooth(nn.Module):
    """No rectifier at all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.silu(self.conv(x)).mean((2, 3)))


def build(kind: type[nn.Module], seed: int = 0, **options) -> nn.Module:
    """A seeded model in evaluation mode, weights (and normalisation statistics) at random.

    Models of one family get the same weights: they compute the same function when their rectifiers are the
    same.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(**options).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                scale = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.1
                parameter.copy_(1.5 * scale * torch.randn_like(parameter))
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight.uniform_(0.5, 1.5)
                    module.running_mean.normal_(0, 0.1)
                    module.running_var.uniform_(0.5, 1.5)
    return model


def images(n: int, size: tuple[int, int] = (17, 21), seed: int = 0, **options) -> Tensor:
    """Random images in [0, 1], (n, 3, *size)."""
    return torch.rand(n, 3, *size, generator=torch.Generator().manual_seed(seed)).to(**options)


def relative_error(ours: Tensor, reference: Tensor) -> float:
    """Largest difference, relative to the reference's largest value; the reference must not be zero."""
    assert ours.shape == reference.shape
    largest = reference.abs().max()
    assert largest > 0, "the reference is zero everywhere: nothing is compared"
    return ((ours - reference).abs().max() / largest).item()
