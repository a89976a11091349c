"""The check of 5.v1: an example of the form. The right answers stand here, and so it is never handed out."""

import torch
from torch import Tensor

from xai_course.checks.inputs import normal
from xai_course.checks.judging import close, compare, expect, then
from xai_course.checks.mistakes import TOLERANCE, Mistake, told
from xai_course.checks.registry import exercise
from xai_course.checks.side_effects import left_alone


# ---- right answers whose steps can be exchanged ----------------------------------------------------------
def curvature(X: Tensor, lam: float) -> Tensor:
    return X.T @ X + lam * torch.eye(X.shape[1], dtype=X.dtype)


def ridge(X: Tensor, y: Tensor, lam: float) -> Tensor:
    return torch.linalg.solve(curvature(X, lam), X.T @ y)


def first_order(
    A=lambda X, lam, group: curvature(X, lam),
    residuals=lambda X, y, lam, group: y - X @ ridge(X, y, lam),
    who=lambda group: group,
    end=lambda change, n: -change,
):
    def answer(X, y, lam, group, z):
        r, G = residuals(X, y, lam, group), who(group)
        return end(z @ torch.linalg.solve(A(X, lam, group), X[G].T @ r[G]), len(X))

    return answer


def exactly(mend=lambda H: torch.eye(len(H), dtype=H.dtype) - H, end=lambda change: -change):
    def answer(X, y, lam, group, z):
        A, r, G = curvature(X, lam), y - X @ ridge(X, y, lam), X[group]
        H = G @ torch.linalg.solve(A, G.T)
        return end(z @ torch.linalg.solve(A, G.T @ torch.linalg.solve(mend(H), r[group])))

    return answer


def emptied(X, y, lam, group, z):
    """The values are set to 0, and the rows stay."""
    return z @ (ridge(X, torch.where(group, 0, y), lam) - ridge(X, y, lam))


def only_the_group(X, y, lam, group, z):
    return z @ (ridge(X[group], y[group], lam) - ridge(X, y, lam))


def the_prediction(X, y, lam, group, z):
    return z @ ridge(X[~group], y[~group], lam)


FIRST = [
    Mistake(
        first_order(end=lambda change, n: change),
        "`first_order` has the sign of *adding* the group once more; it is to leave.",
        "Δ₁ begins with a minus, with r = y − Xθ.",
    ),
    Mistake(
        first_order(A=lambda X, lam, group: curvature(X, 0.0)),
        "`first_order` leaves λ out of the curvature.",
        "A = XᵀX + λI.",
    ),
    Mistake(
        first_order(
            A=lambda X, lam, group: curvature(X, lam) / len(X), end=lambda change, n: -change / n / n
        ),
        "`first_order` is divided by n: that belongs to a loss which is a mean. Here it is a sum.",
        "The objective is ½‖Xθ − y‖² + λ/2 ‖θ‖²: no 1/n anywhere.",
    ),
    Mistake(
        first_order(who=lambda group: ~group),
        "`first_order` is that of the rows that *stay*.",
        "`group` is True for those that leave.",
    ),
    Mistake(
        first_order(residuals=lambda X, y, lam, group: y),
        "`first_order` uses the values y as residuals: what the model explains pulls at nothing.",
        "r = y − Xθ.",
    ),
    Mistake(
        exactly(),
        "`first_order` is the exact change: you have trained again, or used the curvature or the residuals "
        "of the rows that stay, which comes to the same.",
        "A, θ and r are those of *all* rows: that nothing else changes is what “first order” means.",
    ),
]
EXACT = [
    Mistake(
        first_order(),
        "`exactly` is the first order: the group's rows do not know that the others leave too.",
        "(I − H_GG)⁻¹ before the residuals; or train again without the group.",
    ),
    Mistake(
        exactly(mend=lambda H: torch.eye(len(H), dtype=H.dtype) - H.diag().diag()),
        "`exactly` mends each row by itself: exact for one that leaves alone, and not for a group.",
        "All of H_GG, not only its diagonal.",
    ),
    Mistake(
        exactly(mend=lambda H: torch.eye(len(H), dtype=H.dtype) + H),
        "`exactly` has I + H_GG: that is for rows that *come*.",
        "I − H_GG.",
    ),
    Mistake(
        emptied,
        "`exactly` sets the group's values to 0, and its rows still pull the prediction towards 0.",
        "The rows leave with their values: `X[~group]`, `y[~group]`.",
    ),
    Mistake(
        only_the_group,
        "`exactly` trains on the group alone.",
        "On those that stay: `X[~group]`.",
    ),
    Mistake(
        the_prediction,
        "`exactly` gives the new prediction, and not by how much it changed.",
        "zᵀ(θ₋G − θ): take the old prediction away.",
    ),
    Mistake(
        exactly(end=lambda change: change),
        "`exactly` has the sign turned round: old less new.",
        "New less old.",
    ),
]
MISTAKES = {"5.v1": (FIRST, EXACT)}


# ---- the check -------------------------------------------------------------------------------------------
@exercise("5.v1", "A whole group leaves", functions=2)
def a_whole_group_leaves(first_answer, exact_answer) -> str:
    X, y, z, lam = normal(20, 4, seed=951), normal(20, seed=952), normal(4, seed=953), 0.7
    X[1] = X[0] + 0.1 * X[2]
    group = torch.zeros(20, dtype=torch.bool)
    group[[0, 1, 5, 11]] = True

    def probe(function) -> Tensor:
        return torch.as_tensor(function(X.clone(), y.clone(), lam, group.clone(), z.clone()))

    value = told(probe(first_answer), probe(first_order()), FIRST, probe)
    with left_alone("`first_order`", X=X, y=y, group=group, z=z):
        first_answer(X, y, lam, group, z)
    parts = [first_answer(X, y, lam, torch.arange(20) == k, z) for k in group.nonzero()[:, 0].tolist()]
    expect(
        close(sum(map(torch.as_tensor, parts)), value, TOLERANCE),
        "`first_order` of a group is not the sum of what its rows do alone.",
        "To first order each row counts by itself.",
    )
    compare(value, probe(first_order()), tolerance=TOLERANCE, look="−zᵀ A⁻¹ X_Gᵀ r_G.")
    then(
        lambda: _judge_exact(exact_answer, probe, X, y, lam, group, z),
        "`first_order` is right. Now `exactly`.",
    )
    return "the sum of single answers, and what the group really does."


def _judge_exact(answer, probe, X, y, lam, group, z) -> None:
    value = told(probe(answer), probe(exactly()), EXACT, probe)
    with left_alone("`exactly`", X=X, y=y, group=group, z=z):
        answer(X, y, lam, group, z)
    compare(value, probe(exactly()), tolerance=TOLERANCE, look="Train again without the group, and subtract.")
