"""What are k copies of a training picture worth? The digit that helps a test digit most, entered k times."""

import torch
import torch.nn.functional as F
from torch import nn

from xai_lib import digits
from xai_lib.influence import influence, leave_one_out, softmax_regression

COPIES = (1, 2, 3, 5, 9, 17)
SETTINGS = (("0 to 4", 0, 0.01), ("5 to 9", 5, 0.01), ("0 to 4", 0, 0.001), ("5 to 9", 5, 0.001))


def digit_set(first, n=300, m=100):
    """Training and test pairs of five digits, as in the lesson's first section."""
    images, labels = digits()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order, 0].double(), labels[order] - first
    kept = (labels >= 0) & (labels < 5)
    images, labels = images[kept], labels[kept]
    return (images[:n], labels[:n]), (images[n : n + m], labels[n : n + m])


def fitted(train, l2):
    """The fit, for real removals, and its model, for influence."""
    fit = softmax_regression(l2=l2)
    fit(*train, torch.ones(1, len(train[1])).double())
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(fit.weights[:, :-1])
        model[1].bias.copy_(fit.weights[:, -1])
    return fit, model


def without(fit, train, test, removed):
    """Change of the test picture's loss when all of these are left out at once."""
    weights = torch.ones(2, len(train[1])).double()
    weights[1, removed] = 0
    before, after = (
        F.cross_entropy(logits, test[1], reduction="none") for logits in fit(*train, weights)(test[0])
    )
    return (after - before).item()


def rows(first, l2):
    """For each number of copies: four changes in thousandths, the errors of the copied and the test digit."""
    train, test = digit_set(first)
    _, model = fitted(train, l2)
    with torch.no_grad():
        hard = int(F.cross_entropy(model(test[0]), test[1], reduction="none").argmax())
    asked = test[0][hard : hard + 1], test[1][hard : hard + 1]
    best = int(influence(model, train, asked, l2=l2).argmax())
    for copies in COPIES:
        more = [best] * (copies - 1)
        repeated = torch.cat([train[0], train[0][more]]), torch.cat([train[1], train[1][more]])
        fit, model = fitted(repeated, l2)
        alike = [best, *range(300, 300 + len(more))]
        predicted = influence(model, repeated, asked, l2=l2)[0, alike]
        one = leave_one_out(fit, repeated, asked, which=[best]).item()
        changes = predicted[0].item(), one, predicted.sum().item(), without(fit, repeated, asked, alike)
        errors = error(model, repeated, best), error(model, asked, 0)
        yield copies, [f"{1000 * change:.0f}" for change in changes] + [f"{each:.2f}" for each in errors]


@torch.no_grad()
def error(model, pair, which):
    """1 − p of the picture's own label."""
    return 1 - model(pair[0][which : which + 1]).softmax(1)[0, pair[1][which]].item()


def main():
    for name, first, l2 in SETTINGS:
        print(f"\nDigits {name}, weight decay {l2}\n")
        print("| copies | one, predicted | one, real | their sum | all, real | error, copy | error, test |")
        print("|---|---|---|---|---|---|---|")
        for copies, values in rows(first, l2):
            print(f"| {copies} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
