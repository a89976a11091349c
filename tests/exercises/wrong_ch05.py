"""Wrong answers to the exercises of chapter 5, as people give them; and right ones that look unlike ours.

The mistakes that a check recognises by what they give stand beside it, in ``ch05_mistakes.py``, and each is
handed in by the tests. Here is what a check finds otherwise (a property, a shape, a side effect, memory,
products), and for every exercise some of the listed mistakes written anew, from the statement alone.
"""

import numpy as np
import torch
import torch.nn.functional as F
from planted import Wrong
from torch.func import functional_call, grad, vmap

from xai_course.checks.ch05_mistakes import (
    dots,
    found,
    held_out,
    hessian_product,
    layer_product,
    own,
    relabelled,
    rows,
    solve,
    trace,
)

FACTORS = {"A": -1 / 200, "B": 1, "C": -1, "D": 200}


# ---- 5.1 ----
def by_backward(clear, copy):
    """One backward pass a picture, reading ``.grad``."""

    def answer(model, x, y):
        kept = []
        for i in range(len(y)):
            if clear:
                model.zero_grad(set_to_none=False)
            F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
            kept.append([p.grad.clone() if copy else p.grad for p in model.parameters()])
        G = torch.stack([torch.cat([part.flatten() for part in row]) for row in kept])
        for p in model.parameters():
            p.grad = None
        return G

    return answer


def leaves_gradients(model, x, y):
    made = []
    for i in range(len(y)):
        model.zero_grad()
        F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        made.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    return torch.stack(made)


def wipes_gradients_out(model, x, y):
    G = leaves_gradients(model, x, y)
    model.zero_grad()
    return G


def one_at_a_time(loss=F.cross_entropy):
    def answer(model, x, y):
        params = list(model.parameters())
        made = []
        for image, label in zip(x, y, strict=True):
            parts = torch.autograd.grad(loss(model(image[None]), label[None]), params)
            made.append(torch.cat([part.reshape(-1) for part in parts]))
        return torch.stack(made)

    return answer


def of_the_answer(model, x, y):
    return one_at_a_time()(model, x, model(x).argmax(1))


def in_training_mode(model, x, y):
    """The rows are right; a pass in training mode has moved the running means."""
    G = rows()(model, x, y)
    model.train()
    model(x)
    model.eval()
    return G


def from_the_batch(model, x, y):
    """The rows of a batch in training mode: they depend on one another."""
    mode, kept = model.training, {k: b.clone() for k, b in model.named_buffers()}
    model.train()
    params = list(model.parameters())
    losses = F.cross_entropy(model(x), y, reduction="none")
    made = [torch.autograd.grad(one, params, retain_graph=True) for one in losses]
    model.train(mode)
    for key, b in model.named_buffers():
        b.copy_(kept[key])
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in made])


def on_the_graph(model, x, y):
    params = list(model.parameters())
    losses = F.cross_entropy(model(x), y, reduction="none")
    made = [torch.autograd.grad(one, params, create_graph=True) for one in losses]
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in made])


# ---- 5.2 ----
def pieces(model, v):
    parts = v.split([p.numel() for p in model.parameters()])
    return [part.view_as(p) for part, p in zip(parts, model.parameters(), strict=True)]


def by_double_backward(reduction="sum", weight=True, l2_too=True):
    def answer(model, batches, v, l2):
        params, n = list(model.parameters()), sum(len(y) for _, y in batches)
        total = torch.zeros_like(v)
        for x, y in batches:
            loss = F.cross_entropy(model(x), y, reduction=reduction)
            slopes = torch.autograd.grad(loss, params, create_graph=True)
            along = sum((s * part).sum() for s, part in zip(slopes, pieces(model, v), strict=True))
            total += torch.cat([h.flatten() for h in torch.autograd.grad(along, params)])
        return (total / n if weight else total / len(batches)) + l2_too * l2 * v

    return answer


def whole_hessian_of_a_network(model, batches, v, l2):
    theta, n = torch.cat([p.detach().flatten() for p in model.parameters()]), sum(len(y) for _, y in batches)
    names = [name for name, _ in model.named_parameters()]

    def loss(theta, x, y):
        weights = dict(zip(names, pieces(model, theta), strict=True))
        return F.cross_entropy(functional_call(model, weights, (x,)), y, reduction="sum") / n

    H = sum(torch.autograd.functional.hessian(lambda t, x=x, y=y: loss(t, x, y), theta) for x, y in batches)
    return H @ v + l2 * v


def without_a_second_graph(model, batches, v, l2):
    params = list(model.parameters())
    slopes = torch.autograd.grad(F.cross_entropy(model(batches[0][0]), batches[0][1]), params)
    return torch.cat([s.flatten() for s in torch.autograd.grad(sum(s.sum() for s in slopes), params)])


def one_graph_for_all(model, batches, v, l2):
    params, n = list(model.parameters()), sum(len(y) for _, y in batches)
    loss = sum(F.cross_entropy(model(x), y, reduction="sum") for x, y in batches) / n
    slopes = torch.autograd.grad(loss, params, create_graph=True)
    along = sum((s * part).sum() for s, part in zip(slopes, pieces(model, v), strict=True))
    return torch.cat([h.flatten() for h in torch.autograd.grad(along, params)]) + l2 * v


def by_differences(step):
    """Two gradients a batch, and their difference."""

    def answer(model, batches, v, l2):
        weights = {name: p.detach() for name, p in model.named_parameters()}
        moves, total = dict(zip(weights, pieces(model, v), strict=True)), 0
        for x, y in batches:

            def slope(share, x=x, y=y):
                def loss(w):
                    return F.cross_entropy(functional_call(model, w, (x,)), y, reduction="sum")

                return grad(loss)({name: w + share * moves[name] for name, w in weights.items()})

            ahead, behind = slope(step), slope(-step)
            total = total + torch.cat([(ahead[name] - behind[name]).flatten() for name in weights])
        return total / (2 * step) / sum(len(y) for _, y in batches) + l2 * v

    return answer


def biases_exchanged(model, batches, v, l2):
    """The result's pieces in another order than v's."""
    product = by_double_backward()(model, batches, v, l2)
    return torch.cat([part.flatten() for part in pieces(model, product)[::-1]])


def product_and_wiped_out(model, batches, v, l2):
    value = hessian_product()(model, batches, v, l2)
    model.zero_grad()
    return value


def moves_the_weights(model, batches, v, l2):
    product = by_double_backward()(model, batches, v, l2)
    with torch.no_grad():
        for p, part in zip(model.parameters(), pieces(model, v), strict=True):
            p += 1e-3 * part
    return product


# ---- 5.3 ----
def row_by_row(reset=("s", "r", "p"), damped=True):
    """One right-hand side after the other; what is not named in ``reset`` is kept from the one before."""

    def answer(product, g, damping, tolerance, most):
        made, kept = [], {}
        for b in g:
            kept = {
                "s": torch.zeros_like(b) if "s" in reset or not kept else kept["s"],
                "r": b.clone() if "r" in reset or not kept else kept["r"],
                "p": b.clone() if "p" in reset or not kept else kept["p"],
            }
            s, r, p = kept["s"], kept["r"], kept["p"]
            rho = r @ r
            for _ in range(most):
                if rho <= tolerance**2 * (b @ b):
                    break
                hp = product(p[None])[0] + damped * damping * p
                if p @ hp <= 0:
                    raise ValueError("no bottom")
                s, r = s + rho / (p @ hp) * p, r - rho / (p @ hp) * hp
                new = r @ r
                p, rho = r + new / rho * p, new
            kept = {"s": s, "r": r, "p": p}
            made.append(s)
        return torch.stack(made)

    return answer


def solve_of_nan_to_num(stand_still=True):
    """Without the mask, a row that is done walks on with the others, until there is nothing left of it."""

    def answer(product, g, damping, tolerance, most):
        s, r, p = torch.zeros_like(g), g, g
        rho = r.square().sum(1, keepdim=True)
        goal = tolerance**2 * rho
        for _ in range(most):
            if (rho <= goal).all():
                break
            hp = product(p) + damping * p
            bend = (p * hp).sum(1, keepdim=True)
            if ((bend <= 0) & (rho > goal)).any():
                raise ValueError("no bottom")
            moved = rho > goal if stand_still else torch.ones_like(rho, dtype=torch.bool)
            a = torch.where(moved, rho / bend, 0.0).nan_to_num(0)
            s, r = s + a * p, r - a * hp
            new = r.square().sum(1, keepdim=True)
            p, rho = r + (new / rho).nan_to_num(0) * p, new
        return s

    return answer


def one_step_less(product, g, damping, tolerance, most):
    return solve()(product, g, damping, tolerance, most - 1)


def asks_first(product, g, damping, tolerance, most):
    """Looks whether the rows are done only after the product."""
    if not g.any():
        product(g)
    return solve()(product, g, damping, tolerance, most)


def not_on_the_flat(product, g, damping, tolerance, most):
    """``<`` in place of ``<=``."""
    try:
        return solve()(product, g, damping, tolerance, most)
    except ValueError:
        if damping == 0:
            return g * float("inf")
        raise


def without_words(product, g, damping, tolerance, most):
    try:
        return solve()(product, g, damping, tolerance, most)
    except ValueError:
        raise ValueError from None


def dense_solve(product, g, damping, tolerance, most):
    eye = torch.eye(g.shape[1], dtype=g.dtype)
    return torch.linalg.solve(product(eye) + damping * eye, g.T).T


def column_by_column(product, g, damping, tolerance, most):
    eye = torch.eye(g.shape[1], dtype=g.dtype)
    H = torch.cat([product(e[None]) for e in eye])
    return torch.linalg.solve(H + damping * eye, g.T).T


def squared_once(product, g, damping, tolerance, most):
    return solve(allowed=lambda tolerance, rho: tolerance * rho)(product, g, damping, tolerance, most)


def to_the_end(product, g, damping, tolerance, most):
    return solve()(product, g, damping, 1e-12, most)


def without_most(product, g, damping, tolerance, most):
    return solve()(product, g, damping, tolerance, 100)


def in_place(product, g, damping, tolerance, most):
    s = solve()(product, g, damping, tolerance, most)
    g -= product(s)
    return s


def refuses_zeros(product, g, damping, tolerance, most):
    def watched(p):
        hp = product(p)
        if bool(((p * hp).sum(1) + damping * p.square().sum(1) <= 0).any() and (g == 0).all(1).any()):
            raise ValueError("not positive definite")
        return hp

    return solve()(watched, g, damping, tolerance, most)


def refuses_without_damping(product, g, damping, tolerance, most):
    def watched(p):
        hp = product(p)
        if bool(((p * hp).sum(1) < 0).any()):
            raise ValueError("H is not positive definite")
        return hp

    return solve()(watched, g, damping, tolerance, most)


def columns(product, g, damping, tolerance, most):
    return solve()(lambda p: product(p.T), g, damping, tolerance, most)


def solve_with_bare_division(product, g, damping, tolerance, most):
    return solve(guard=False)(product, g, damping, tolerance, most)


# ---- 5.4 ----
def of_5_4(answer, **factors):
    return answer, FACTORS | factors


def by_loops(solved, before, after):
    made = torch.zeros(len(solved), len(before)).double()
    for j in range(len(solved)):
        for i in range(len(before)):
            made[j, i] = solved[j] @ (before[i] - after[i]) / len(before)
    return made


def solved_again(solved, before, after):
    H = before.T @ before / len(before) + 0.3 * torch.eye(before.shape[1]).double()
    return torch.linalg.solve(H, solved.T).T @ (before - after).T / len(before)


# ---- 5.5 ----
def every_gradient(V, features, errors):
    G = (errors[:, :, None] * features[:, None]).flatten(1)
    return V.flatten(1) @ G.T


def whole_hessian(V, features, p, l2):
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    H = torch.einsum("nkl,nd,ne->kdle", inner, features, features) / len(p)
    size = H.shape[0] * H.shape[1]
    H = H.reshape(size, size) + l2 * torch.eye(size).double()
    return (V.flatten(1) @ H).view_as(V)


def with_dot_of_classes_only(V, features, errors):
    return V.sum(2) @ errors.T


def layers(gradient_dots=dots(), product=layer_product()):  # noqa: B008
    return gradient_dots, product


# ---- 5.6 ----
def all_pairs_for_the_diagonal(gradients, hessian):
    return (gradients @ torch.linalg.inv(hessian) @ gradients.T).diagonal() / len(gradients)


def leaks(fit, x, y, fold):
    model = fit(x, y)
    return F.cross_entropy(model(x), y, reduction="none")


def one_by_one(fit, x, y, fold):
    made = []
    for i in range(len(y)):
        others = fold != fold[i]
        made.append(F.cross_entropy(fit(x[others], y[others])(x[i : i + 1]), y[i : i + 1]))
    return torch.stack(made)


def held_out_on_the_graph(fit, x, y, fold):
    losses = torch.zeros(len(y), dtype=torch.float64)
    for number in fold.unique():
        inside = fold == number
        logits = fit(x[~inside], y[~inside])(x[inside])
        losses[inside] = F.cross_entropy(logits, y[inside], reduction="none")
    return losses


def leave_only_itself_out(fit, x, y, fold):
    made = []
    for i in range(len(y)):
        others = torch.arange(len(y)) != i
        made.append(F.cross_entropy(fit(x[others], y[others])(x[i : i + 1]), y[i : i + 1]))
    return torch.stack(made)


def numbered_folds(fit, x, y, fold):
    losses = torch.zeros(len(y)).double()
    for number in range(len(fold.unique())):
        inside = fold == number
        losses[inside] = F.cross_entropy(fit(x[~inside], y[~inside])(x[inside]), y[inside], reduction="none")
    return losses


def third(self_influences=own(), held_out_losses=held_out(), share=found()):  # noqa: B008
    return self_influences, held_out_losses, share


def above_the_last(suspicion, wrong, inspected):
    """As suspicious as the last one that is inspected, or more."""
    bar = suspicion.sort(descending=True).values[inspected - 1]
    return wrong[suspicion >= bar].double().sum() / wrong.sum()


def above_a_bar(suspicion, wrong, inspected):
    return wrong[suspicion > suspicion.mean()].double().sum() / wrong.sum()


# ---- 5.7 ----
def online(update_first=False, put=False, shared=True):
    def answer(gradients, theta, train, test, batches, rate):
        (x, y), total = train, torch.zeros(len(test[1]), len(train[1])).double()
        for batch in batches:
            own_ = gradients(theta, x[batch], y[batch])
            if update_first:
                theta = theta - rate * own_.mean(0)
            value = rate * gradients(theta, *test) @ own_.T / (len(batch) if shared else 1)
            total[:, batch] = value if put else total[:, batch] + value
            if not update_first:
                theta = theta - rate * own_.mean(0)
        return total

    return answer


def theta_in_place(gradients, theta, train, test, batches, rate):
    total = torch.zeros(len(test[1]), len(train[1])).double()
    for batch in batches:
        own_ = gradients(theta, train[0][batch], train[1][batch])
        total[:, batch] += rate / len(batch) * gradients(theta, *test) @ own_.T
        theta -= rate * own_.mean(0)
    return total


def of_the_whole_set(gradients, theta, train, test, batches, rate):
    """Every picture is credited at every step."""
    total = 0
    for batch in batches:
        total = total + rate * gradients(theta, *test) @ gradients(theta, *train).T / len(train[1])
        theta = theta - rate * gradients(theta, train[0][batch], train[1][batch]).mean(0)
    return total


WRONG = {
    "5.1": [
        Wrong("grad adds up", "of the pictures before it", (by_backward(clear=False, copy=True),)),
        Wrong("grad is one tensor", "each is the last picture's", (by_backward(clear=True, copy=False),)),
        Wrong("one tensor that adds up", "*summed* loss", (by_backward(clear=False, copy=False),)),
        Wrong("the model's answer", "at the class that the model names", (of_the_answer,)),
        Wrong(
            "softmax twice",
            "taken twice",
            (one_at_a_time(lambda z, y: F.cross_entropy(z.softmax(1), y)),),
        ),
        Wrong(
            "no softmax",
            "softmax is missing",
            (one_at_a_time(lambda z, y: -z[torch.arange(len(y)), y].sum()),),
        ),
        Wrong("gradients left", "leaves gradients in the parameters", (leaves_gradients,)),
        Wrong("gradients wiped out", "wipes out the gradients", (wipes_gradients_out,)),
        Wrong("training mode", "a buffer of `model`", (in_training_mode,)),
        Wrong("rows depend on others", "gradient of the mean loss", (from_the_batch,)),
        Wrong("on the graph", "hangs on the graph", (on_the_graph,)),
        Wrong("a list", "`list`", (lambda model, x, y: list(rows()(model, x, y)),)),
        Wrong("frozen", "frozen", (lambda model, x, y: rows()(model.requires_grad_(False), x, y),)),
    ],
    "5.2": [
        Wrong("mean of means", "mean of the batches' means", (by_double_backward("mean", weight=False),)),
        Wrong("mean, then over n", "differs from the reference", (by_double_backward("mean"),)),
        Wrong("no weight decay", "weight decay is missing", (by_double_backward(l2_too=False),)),
        Wrong("over batches", "number of batches", (by_double_backward(weight=False),)),
        Wrong("no second graph", "does not require grad", (without_a_second_graph,)),
        Wrong("one graph", "graphs of all batches", (one_graph_for_all,)),
        Wrong("whole Hessian", "H itself", (whole_hessian_of_a_network,)),
        Wrong("coarse differences", "H v", (by_differences(0.3),)),
        Wrong("another order", "should be larger by v itself", (biases_exchanged,)),
        Wrong("weights moved", "changed the weights", (moves_the_weights,)),
        Wrong(
            "pieces",
            "Four pieces",
            (lambda model, b, v, l2: pieces(model, by_double_backward()(model, b, v, l2)),),
        ),
        Wrong("one number", "shape", (lambda *given: hessian_product()(*given).sum(),)),
        Wrong("gradients wiped out", "wipes out the gradients", (product_and_wiped_out,)),
    ],
    "5.3": [
        Wrong("s not reset", "s was not set back", (row_by_row(("r", "p")),)),
        Wrong("nothing reset", "stopped at once", (row_by_row(()),)),
        Wrong("r not reset", "nothing moves", (row_by_row(("s",)),)),
        Wrong("not damped", "damping is forgotten", (row_by_row(damped=False),)),
        Wrong("row by row", "`product` was called", (row_by_row(),)),
        Wrong("dense", "vectors at once", (dense_solve,)),
        Wrong("column by column", "was called 18 times", (column_by_column,)),
        Wrong("squared once", "For a tolerance of 0.3, |g", (squared_once,)),
        Wrong("tolerance unused", "For a tolerance of 0.6", (to_the_end,)),
        Wrong("most unused", "`most` was 2", (without_most,)),
        Wrong("in place", "changed `g`", (in_place,)),
        Wrong("refuses zeros", "one row of g is 0", (refuses_zeros,)),
        Wrong("damping not seen", "With a damping of 2", (refuses_without_damping,)),
        Wrong("refuses nothing", "no `ValueError` was raised", (solve(refuse=False),)),
        Wrong("columns", "vectors as rows", (columns,)),
        Wrong("0 / 0", "NaN", (solve(guard=False, done=lambda open_: not bool(open_.any())),)),
        Wrong("walks on", "moved on as long as others", (solve_of_nan_to_num(stand_still=False),)),
        Wrong("one step less", "`product` was called 1 times", (one_step_less,)),
        Wrong("asks first", "done from the beginning", (asks_first,)),
        Wrong("not on the flat", "exactly 0", (not_on_the_flat,)),
        Wrong("without words", "has no words", (without_words,)),
        Wrong("never asks", "never called", (lambda product, g, *rest: g.clone(),)),
    ],
    "5.4": [
        Wrong("sign", "sign is turned round", of_5_4(lambda s, b, a: s @ (a - b).T / len(b))),
        Wrong("no n", "1/n is missing", of_5_4(lambda s, b, a: s @ (b - a).T)),
        Wrong("removal", "predicts the picture's removal", of_5_4(lambda s, b, a: s @ b.T / len(b))),
        Wrong("mean", "averaged", of_5_4(lambda s, b, a: (s @ (b - a).T / len(b)).mean(0))),
        Wrong("solved again", "Point", of_5_4(solved_again)),
        Wrong("adds a little", "exchanged for itself", of_5_4(lambda s, b, a: relabelled()(s, b, a) + 1)),
        Wrong("in place", "changed `before`", of_5_4(lambda s, b, a: s @ (b.sub_(a)).T / len(b))),
        Wrong("A's sign", "wrong sign", of_5_4(relabelled(), A=1 / 200)),
        Wrong("A turned over", "turned over", of_5_4(relabelled(), A=-200)),
        Wrong("B over n", "wrong in its n", of_5_4(relabelled(), B=1 / 200)),
        Wrong("C as it is", "`factors['C']` has the wrong sign", of_5_4(relabelled(), C=1)),
        Wrong("D as it is", "wrong in its n", of_5_4(relabelled(), D=1)),
        Wrong("another number", "none of", of_5_4(relabelled(), D=7)),
        Wrong("in words", "a number is wanted", of_5_4(relabelled(), D="n")),
        Wrong("no dict", "a dict with the keys", (relabelled(), [1, 2, 3, 4])),
    ],
    "5.5": [
        Wrong("every gradient", "(n, K, D) is built", layers(every_gradient)),
        Wrong("features forgotten", "differs from", layers(with_dot_of_classes_only)),
        Wrong("turned", "lies on its side", layers(lambda V, f, e: dots()(V, f, e).T.contiguous())),
        Wrong(
            "V in place",
            "`gradient_dots` changed `V`",
            layers(lambda V, f, e: (dots()(V, f, e), V.mul_(2))[0]),
        ),
        Wrong("whole Hessian", "(K·D, K·D) is built", layers(product=whole_hessian)),
        Wrong("no p pᵀ", "−p pᵀ is missing", layers(product=layer_product(weigh=lambda p, u: u * p))),
        Wrong(
            "one class left out",
            "changes no probability",
            layers(
                product=layer_product(weigh=lambda p, u: p * u - p * (p * u)[..., 1:].sum(-1, keepdim=True))
            ),
        ),
        Wrong(
            "twice",
            "differs from the reference",
            layers(product=layer_product(mean=lambda total, n: 2 * total / n)),
        ),
        Wrong(
            "bias without decay",
            "With a weight decay larger by 1",
            layers(product=layer_product(penalty=lambda V, l2, n: l2 * F.pad(V[..., :-1], (0, 1)))),
        ),
        Wrong("list", "`list`", layers(product=lambda *given: list(layer_product()(*given)))),
        Wrong(
            "p in place",
            "`layer_product` changed `p`",
            layers(product=lambda V, f, p, l2: (layer_product()(V, f, p, l2), p.add_(1))[0]),
        ),
    ],
    "5.6": [
        Wrong("all pairs", "all pairs, (n, n)", third(all_pairs_for_the_diagonal)),
        Wrong("no H", "H is not used", third(lambda G, H: G.square().sum(1) / len(G))),
        Wrong("no n", "1/n is missing", third(lambda G, H: torch.einsum("np,pq,nq->n", G, H.inverse(), G))),
        Wrong("leak", "leaks", third(held_out_losses=leaks)),
        Wrong("a fit a picture", "`fit` was called 16 times", third(held_out_losses=one_by_one)),
        Wrong(
            "only itself out", "With another label on picture 1", third(held_out_losses=leave_only_itself_out)
        ),
        Wrong(
            "on the graph",
            "hangs on the graph",
            third(held_out_losses=held_out_on_the_graph),
        ),
        Wrong(
            "folds numbered",
            "leaves the last fold out",
            third(held_out_losses=numbered_folds),
        ),
        Wrong(
            "labels in place",
            "changed `y`",
            third(held_out_losses=lambda fit, x, y, fold: (held_out()(fit, x, y, fold), y.zero_())[0]),
        ),
        Wrong(
            "least first",
            "*least* suspicious",
            third(share=lambda s, w, k: w[s.argsort()][:k].sum() / w.sum()),
        ),
        Wrong(
            "precision",
            "share of the *inspected*",
            third(share=lambda s, w, k: w[s.topk(k).indices].double().mean()),
        ),
        Wrong("a bar", "all wrong labels are found", third(share=above_a_bar)),
        Wrong("the last one's bar", "equally suspicious", third(share=above_the_last)),
        Wrong(
            "suspicion in place",
            "`found` changed `suspicion`",
            third(share=lambda s, w, k: (found()(s, w, k), s.neg_())[0]),
        ),
        Wrong("a table", "numbers", third(share=lambda s, w, k: torch.zeros(2))),
    ],
    "5.7": [
        Wrong("after the step", "*after* the step", (online(update_first=True),)),
        Wrong("overwritten", "overwrite", (online(put=True),)),
        Wrong("whole step", "only its share", (online(shared=False),)),
        Wrong("theta in place", "changed `theta`", (theta_in_place,)),
        Wrong("all at every step", "add up to the fall", (of_the_whole_set,)),
        Wrong("twice", "add up to the fall", (lambda *given: 2 * online()(*given),)),
        Wrong("flat", "shape", (lambda *given: online()(*given).flatten(),)),
    ],
}


# ---- right, in another way: a check must not ask for our own code ----
def by_vmap(model, x, y):
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def loss(weights, image, label):
        return F.cross_entropy(functional_call(model, weights, (image[None],)), label[None])

    made = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, y)
    return torch.cat([part.flatten(1) for part in made.values()], dim=1)


def by_vjp_of_grad(model, batches, v, l2):
    """Pulled back through the gradient: the Hessian is symmetric."""
    weights = {name: p.detach() for name, p in model.named_parameters()}
    along = dict(zip(weights, pieces(model, v), strict=True))
    n, total = sum(len(y) for _, y in batches), 0
    for x, y in batches:

        def slope(weights, x=x, y=y):
            return grad(lambda w: F.cross_entropy(functional_call(model, w, (x,)), y, reduction="sum"))(
                weights
            )

        pulled = torch.func.vjp(slope, weights)[1](along)[0]
        total = total + torch.cat([pulled[name].flatten() for name in weights])
    return total / n + l2 * v


def weighted_means(model, batches, v, l2):
    """The mean loss of each batch, weighted by its share, penalty and all inside the graph."""
    params, n = list(model.parameters()), sum(len(y) for _, y in batches)
    total = torch.zeros_like(v)
    for x, y in batches:
        penalty = sum(p.square().sum() for p in params) * l2 / 2
        loss = (F.cross_entropy(model(x), y) + penalty) * len(y) / n
        slopes = torch.autograd.grad(loss, params, create_graph=True)
        flat = torch.cat([s.flatten() for s in slopes])
        total += torch.cat([h.flatten() for h in torch.autograd.grad(flat @ v, params)])
    return total


def in_float32(model, batches, v, l2):
    return by_double_backward()(model, batches, v, l2).float()


def solve_with_alpha(product, g, damping, tolerance, most):
    """Textbook names, one step for all the rows that are not done."""
    x, r = torch.zeros_like(g), g.clone()
    d, norm = r.clone(), g.norm(dim=1)
    for _ in range(most):
        active = (r.norm(dim=1) > tolerance * norm).nonzero()[:, 0]
        if len(active) == 0:
            break
        q = product(d[active]) + damping * d[active]
        bend = (d[active] * q).sum(1)
        if (bend <= 0).any():
            raise ValueError(f"curvature {bend.min():.2g}")
        old = r[active].square().sum(1)
        alpha = (old / bend)[:, None]
        x[active] += alpha * d[active]
        r[active] -= alpha * q
        beta = r[active].square().sum(1) / old
        d[active] = r[active] + beta[:, None] * d[active]
    return x


def numpy_relabelled(solved, before, after):
    return torch.from_numpy(solved.numpy() @ (before.numpy() - after.numpy()).T / before.shape[0])


def dots_in_a_loop(V, features, errors):
    return torch.stack([((features @ v.T) * errors).sum(1) for v in V])


def product_in_a_loop(V, features, p, l2):
    made = []
    for v in V:
        u = features @ v.T
        made.append((p * (u - (p * u).sum(1, keepdim=True))).T @ features / len(p) + l2 * v)
    return torch.stack(made)


def product_of_small_matrices(V, features, p, l2):
    """diag p − p pᵀ for each picture, (n, K, K)."""
    curve = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    moved = torch.einsum("nkl,mnl->mnk", curve, features @ V.transpose(1, 2))
    return moved.transpose(1, 2) @ features / len(p) + l2 * V


def self_influences_of_cholesky(gradients, hessian):
    half = torch.linalg.solve_triangular(torch.linalg.cholesky(hessian), gradients.T, upper=False)
    return half.square().sum(0) / len(gradients)


@torch.no_grad()
def held_out_asking_everybody(fit, x, y, fold):
    losses = torch.empty(len(y), dtype=torch.float64)
    for number in sorted(set(fold.tolist())):
        logits = fit(x[fold != number], y[fold != number])(x)
        every = F.cross_entropy(logits, y, reduction="none")
        losses[fold == number] = every[fold == number]
    return losses


def found_of_numpy(suspicion, wrong, inspected):
    first = np.argsort(-suspicion.numpy())[:inspected]
    return float(wrong.numpy()[first].sum() / wrong.numpy().sum())


def online_in_loops(gradients, theta, train, test, batches, rate):
    made = {}
    for batch in batches:
        tests = gradients(theta, *test)
        step = torch.zeros_like(theta)
        for i in batch.tolist():
            g = gradients(theta, train[0][i : i + 1], train[1][i : i + 1])[0]
            made[i] = made.get(i, 0) + rate * (tests @ g) / len(batch)
            step = step + g / len(batch)
        theta = theta - rate * step
    zero = torch.zeros(len(test[1])).double()
    return torch.stack([made.get(i, zero) for i in range(len(train[1]))], dim=1)


ALSO_RIGHT = {
    "5.1": [(rows(),), (by_vmap,), (one_at_a_time(),), (lambda *given: rows()(*given).float(),)],
    "5.2": [
        (by_double_backward(),),
        (by_vjp_of_grad,),
        (weighted_means,),
        (in_float32,),
        (by_differences(1e-4),),
    ],
    "5.3": [(solve(),), (solve_with_alpha,), (solve_of_nan_to_num(),)],
    "5.4": [of_5_4(relabelled()), of_5_4(by_loops), of_5_4(numpy_relabelled, D=torch.tensor(200.0))],
    "5.5": [
        layers(),
        layers(dots_in_a_loop, product_in_a_loop),
        layers(product=product_of_small_matrices),
        layers(lambda V, f, e: torch.einsum("mkd,nd,nk->mn", V, f, e)),
    ],
    "5.6": [third(), third(self_influences_of_cholesky, held_out_asking_everybody, found_of_numpy)],
    "5.7": [(trace(),), (online(),), (online_in_loops,)],
}
