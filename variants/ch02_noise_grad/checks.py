"""The check of 2.v1: an example of the form. The right answer stands here, and so it is never handed out."""

import copy

import torch
from torch import Tensor, nn

from xai_course.checks.inputs import normal, uniform
from xai_course.checks.judging import compare, expect
from xai_course.checks.mistakes import TOLERANCE, Mistake, told
from xai_course.checks.registry import exercise
from xai_course.checks.side_effects import detached, left_alone


# ---- a right answer whose steps can be exchanged ---------------------------------------------------------
def multiplied(p: Tensor, noise: float, drawn: Tensor) -> Tensor:
    return p * (1 + noise * drawn)


def logit(logits: Tensor, target: Tensor) -> Tensor:
    return logits[torch.arange(len(target)), target]


def noise_grad(
    weights=multiplied,
    score=logit,
    each=lambda slope: slope,
    mean=True,
    from_the_last=False,
    same_draw=False,
    biases=True,
):
    def answer(model, x, target, n_samples, noise, generator):
        leaf, total, twin = x.detach().clone().requires_grad_(True), torch.zeros_like(x), model
        state = generator.get_state()
        for _ in range(n_samples):
            twin = copy.deepcopy(twin if from_the_last else model)
            if same_draw:
                generator.set_state(state)
            with torch.no_grad():
                for p in twin.parameters():
                    if biases or p.dim() > 1:
                        p.copy_(weights(p, noise, torch.randn(p.shape, generator=generator, dtype=p.dtype)))
            total += each(torch.autograd.grad(score(twin(leaf), target).sum(), leaf)[0])
        return total / n_samples if mean else total

    return answer


def smooth_grad(model, x, target, n_samples, noise, generator):
    total = torch.zeros_like(x)
    for _ in range(n_samples):
        noisy = x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        leaf = noisy.requires_grad_(True)
        total += torch.autograd.grad(logit(model(leaf), target).sum(), leaf)[0]
    return total / n_samples


MISTAKES = {
    "2.v1": (
        [
            Mistake(
                noise_grad(weights=lambda p, noise, drawn: p + noise * drawn),
                "The noise is *added* to the weights: small weights drown in it, large ones hardly notice.",
                "Each weight is multiplied by 1 + σ ε.",
            ),
            Mistake(
                noise_grad(weights=lambda p, noise, drawn: p * noise * drawn),
                "The weights are multiplied by σ ε, whose mean is 0: nothing of the network is left.",
                "By a number near 1: 1 + σ ε.",
            ),
            Mistake(
                smooth_grad,
                "That is SmoothGrad: the noise is on the picture.",
                "The picture stays; the weights are disturbed.",
            ),
            Mistake(
                noise_grad(from_the_last=True),
                "Each network begins with the noisy weights of the one before: the noise piles up.",
                "Begin each round with the weights that you were given.",
            ),
            Mistake(
                noise_grad(same_draw=True),
                "All your networks are the same one: the noise was drawn once.",
                "Draw anew in every round, from the generator as it comes.",
            ),
            Mistake(
                noise_grad(each=lambda slope: slope.abs()),
                "The signs are gone before the mean is taken: slopes that disagree no longer cancel.",
                "Add the signed gradients.",
            ),
            Mistake(
                noise_grad(score=lambda logits, target: logit(logits.softmax(1), target)),
                "You differentiate the probability; the exercise asks for the logit.",
                "No softmax before the target's entry is picked.",
            ),
            Mistake(
                noise_grad(mean=False),
                "You add up the gradients, and do not divide by how many there are.",
                "The mean: divide by `n_samples`.",
            ),
            Mistake(
                noise_grad(biases=False),
                "The biases have no noise.",
                "Every parameter of `model.parameters()`, in its order.",
            ),
        ],
    )
}


# ---- the check -------------------------------------------------------------------------------------------
def _model() -> nn.Module:
    """Two layers with a smooth bend between them: noise on the weights changes what the gradient is."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Softplus(), nn.Linear(6, 4)).double().eval()
    for number, p in enumerate(model.parameters()):
        p.data.copy_(normal(*p.shape, seed=921 + number) / 2)
    return model


@exercise("2.v1", "NoiseGrad")
def the_mean_over_noisy_networks(answer) -> str:
    x, target = uniform(3, 3, 4, 4, seed=920), torch.tensor([0, 3, 1])

    def probe(function, n_samples: int = 4, noise: float = 0.3) -> Tensor:
        return function(
            _model(), x.clone(), target.clone(), n_samples, noise, torch.Generator().manual_seed(5)
        )

    right = probe(noise_grad())
    value = told(probe(answer), right, MISTAKES["2.v1"][0], probe)
    model = _model()
    with left_alone(model=model, x=x, target=target):
        detached(answer(model, x, target, 2, 0.3, torch.Generator().manual_seed(5)))
    quiet = probe(answer, noise=0.0)
    expect(
        torch.allclose(quiet.double(), probe(noise_grad(), noise=0.0), atol=1e-6),
        "Without noise (σ = 0) the result is not the simple gradient.",
        "1 + 0 · ε is 1: every network is then the given one.",
    )
    compare(value, right, tolerance=TOLERANCE, look="∂y_c/∂x of each noisy network; then their mean.")
    return "the network is disturbed and left as it was; without noise it is the simple gradient."
