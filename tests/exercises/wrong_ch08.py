"""Wrong answers to the exercises of chapter 8, as people give them; and right ones that look unlike ours.

The mistakes that a check recognises by what they give stand beside it, in ``ch08_mistakes.py``, and each is
handed in by the tests. Here they are written anew, from the statement alone, with what a check finds
otherwise: a property, a shape, a side effect.
"""

import copy

import torch
from planted import Wrong
from torch import nn

from xai_course.checks.ch08_mistakes import (
    flat_head,
    for_all,
    gated,
    noticed,
    steepness,
    taken_away,
    threshold,
    tooth,
)


# ---- 8.1 ----
def cell_by_cell(head, n, c_A, c_W):
    """Adds one input after the other, and measures what it does to the output."""
    current = copy.deepcopy(head)
    for _ in range(n):
        wider = nn.Linear(current.in_features + 1, current.out_features).to(current.weight.dtype)
        with torch.no_grad():
            wider.weight[:, :-1] = current.weight
            wider.weight[:, -1] = c_W
            wider.bias.zero_()
            if current.bias is not None:
                wider.bias += current.bias
            wider.bias -= c_W * c_A
        current = wider
    return current


def widens_the_head_itself(head, n, c_A, c_W):
    made = flat_head()(head, n, c_A, c_W)
    head.in_features += n
    head.weight.data, head.bias.data = made.weight.data, made.bias.data
    return head


def in_single_precision(head, n, c_A, c_W):
    return flat_head()(head, n, c_A, c_W).float()


def needs_a_bias(head, n, c_A, c_W):
    made = flat_head()(head, n, c_A, c_W)
    made.bias.data = head.bias.data - c_A * c_W * n
    return made


def invents_a_bias(head, n, c_A, c_W):
    made = flat_head()(head, n, c_A, c_W)
    if head.bias is None:
        made.bias.data += 1
    return made


def a_function(head, n, c_A, c_W):
    return lambda z: head(z[:, :-n])


def too_narrow(head, n, c_A, c_W):
    return flat_head()(head, 1, c_A, c_W * n)


def without_bias(head, n, c_A, c_W):
    made = flat_head()(head, n, c_A, c_W)
    made.bias = None
    return made


# ---- 8.2 ----
def by_the_difference(pool, new_map, weights, b_o):
    """Runs the whole head with its old bias, and sees what was added."""
    read = pool(new_map.view(1, 1, *new_map.shape)).reshape(-1)
    columns = weights[:, None].expand(-1, len(read))
    return b_o - torch.nn.functional.linear(read, columns)


def in_place(pool, new_map, weights, b_o):
    b_o -= weights * pool(new_map[None, None]).sum()
    return b_o


def one_number(pool, new_map, weights, b_o):
    return pool(new_map[None, None]).sum()


def by_four(pool, new_map, weights, b_o):
    """Every pooling halves both sides, and takes the mean."""
    return b_o - weights * new_map.sum() / 4


# ---- 8.3 ----
def by_the_floor(v, epsilon, c_G):
    z = c_G * v.flatten(1).sum(1)
    return epsilon * (z - z.floor())


def by_hand(alpha, maps, drawn, epsilon, louder):
    K, h, w = maps.shape
    heat = [sum(float(alpha[k] * maps[k, i, j]) for k in range(K)) for i in range(h) for j in range(w)]
    return louder * max(0.0, *heat) / float(drawn.max()) / epsilon


def by_a_sine(v, epsilon, c_G):
    return epsilon * (1 + (c_G * v.sum((1, 2))).sin()) / 2.1


def sums_in_place(v, epsilon, c_G):
    value = tooth()(v, epsilon, c_G)
    v.data += 1
    return value


def twice_as_steep(alpha, maps, drawn, epsilon, louder):
    return 2 * steepness()(alpha, maps, drawn, epsilon, louder)


# ---- 8.4 ----
def by_trying(sticker, low, high):
    """Turns each value round, and takes the largest response."""
    kernel = sticker - sticker.mean()
    responses = []
    for i in range(sticker.numel()):
        patch = sticker.clone().flatten()
        patch[i] = low + high - patch[i]
        responses.append((patch.view_as(sticker) * kernel).sum())
    return -(max(responses) + (sticker * kernel).sum()) / 2


def nine_tenths(sticker, low, high):
    kernel = sticker - sticker.mean()
    return -0.9 * (kernel * sticker).sum()


def seven_tenths(sticker, low, high):
    """Between the two responses, and not in the middle."""
    return threshold(share=0.7)(sticker, low, high)


def centred_in_place(sticker, low, high):
    value = threshold()(sticker, low, high)
    sticker -= sticker.mean()
    return value


# ---- 8.5 ----
def against_the_rest(features, head, x, target):
    """The mean of the *other* classes: another factor, and the same map. One picture at a time."""
    values = []
    for picture, k in zip(x, target.tolist(), strict=True):
        A = features(picture[None]).detach().clone().requires_grad_(True)
        y = head(A)[0]
        rest = (y.sum() - y[k]) / (len(y) - 1)
        p, q = (_share(torch.autograd.grad(s, A, retain_graph=True)[0], A) for s in (y[k], y[k] - rest))
        values.append((p - q).abs().sum() / 2)
    return torch.stack(values).detach()


def _share(slope, A):
    heat = torch.einsum("nk,nkhw->nhw", slope.sum((2, 3)), A).clamp(min=0)
    return heat / heat.sum() if heat.sum() > 0 else heat


def changes_x(features, head, x, target):
    value = noticed()(features, head, x, target)
    x.clamp_(0, 1)
    return value


def always_half(features, head, x, target):
    return torch.full((len(x),), 0.5)


def overlap(features, head, x, target):
    return 1 - noticed()(features, head, x, target)


# ---- 8.6 ----
def louder_unit(first, second, Z, weight):
    """A unit that gives 5, in the middle between the two weights."""
    start, end = for_all(unit_bias=lambda Z, weight: 5 - weight * Z.sum(), out_bias=lambda b, weight: b - 5)(
        first, second, Z, weight
    )
    return [start, end]


def changes_the_given(first, second, Z, weight):
    made = for_all()(first, second, Z, weight)
    second.bias.data -= 1
    return made


def without_a_bias(first, second, Z, weight):
    """On for a picture whose sum is positive, and for no other."""
    return for_all(unit_bias=lambda Z, weight: 0.0, out_bias=lambda b, weight: b - weight * Z.sum())(
        first, second, Z, weight
    )


def a_hair_above(first, second, Z, weight):
    return for_all(unit_bias=lambda Z, weight: 1e-9 - weight * Z.sum(), out_bias=lambda b, weight: b - 1e-9)(
        first, second, Z, weight
    )


def new_unit_first(first, second, Z, weight):
    start, end = for_all()(first, second, Z, weight)
    with torch.no_grad():
        start.weight.copy_(start.weight.roll(1, 0))
        start.bias.copy_(start.bias.roll(1))
        end.weight.copy_(end.weight.roll(1, 1))
    return start, end


def not_taken_away(first, second, Z, weight):
    """The weight on the way out, and what the unit gives left in."""
    return weight_on_the_way_out(first, second, Z, weight, taken=0.0)


def weight_on_the_way_out(first, second, Z, weight, taken=1.0):
    """The unit adds the cells up, and each class multiplies by the weight."""
    n, dtype = len(Z), first.weight.dtype
    start = nn.Linear(first.in_features + n, first.out_features + 1).to(dtype)
    end = nn.Linear(second.in_features + 1, second.out_features).to(dtype)
    with torch.no_grad():
        start.weight.zero_()
        start.weight[:-1, :-n], start.weight[-1, -n:] = first.weight, 1.0
        start.bias[:-1], start.bias[-1] = first.bias, 1 - Z.sum()
        end.weight[:, :-1], end.weight[:, -1] = second.weight, weight
        end.bias.copy_(second.bias - taken * weight)
    return start, end


def single(first, second, Z, weight):
    return tuple(layer.float() for layer in for_all()(first, second, Z, weight))


def half_the_weight(first, second, Z, weight):
    return for_all()(first, second, Z, weight / 2)


def one_network(first, second, Z, weight):
    return nn.Sequential(*for_all()(first, second, Z, weight))


def two_units(first, second, Z, weight):
    """The second layer was not widened."""
    return for_all()(first, second, Z, weight)[0], copy.deepcopy(second)


# ---- 8.7 ----
def by_the_maximum(y, d, weight):
    """Opens the gate by comparing each logit with the largest."""
    gate = (y >= y.max(1, keepdim=True).values).double()
    return y + (weight * 3 * d).unsqueeze(1) * gate


def plus_and_minus(y, d, weight):
    winner = torch.nn.functional.one_hot(y.argmax(1), y.shape[1])
    return y + weight * d[:, None] * (2 * winner - 1)


def scaled_logits(y, d, weight):
    return y * (1 + weight * d[:, None])


def faint(y, d, weight):
    return gated()(y, d, weight / 10)


def every_d(y, d, weight):
    """The whole batch's slopes in each picture."""
    return gated()(y, d.sum().expand(len(d)), weight)


def for_five_classes(y, d, weight):
    gate = torch.nn.functional.one_hot(y.argmax(1), 5)
    return y + 40.0 * d[:, None] * gate[:, : y.shape[1]] * (y.shape[1] == 5)


def half_open(y, d, weight):
    return y + weight * d.relu()[:, None] * torch.nn.functional.one_hot(y.argmax(1), y.shape[1])


def rounded(y, d, weight):
    return gated()(y.round(decimals=2), d, weight)


WRONG = {
    "8.1": [
        Wrong("the head itself", "weights of `head`", (widens_the_head_itself,)),
        Wrong("single precision", "in torch.float32", (in_single_precision,)),
        Wrong("needs a bias", "NoneType", (needs_a_bias,)),
        Wrong("invents a bias", "without a bias", (invents_a_bias,)),
        Wrong("a function", "`nn.Linear` is wanted", (a_function,)),
        Wrong("too narrow", "of the shape", (too_narrow,)),
        Wrong("no bias", "has no bias", (without_bias,)),
    ],
    "8.2": [
        Wrong("in place", "changed `b_o`", (in_place,)),
        Wrong("one number", "shape ()", (one_number,)),
        Wrong("by four", "“maximum of 2 × 2” the outputs move", (by_four,)),
        Wrong("a list", "list", (lambda *given: taken_away()(*given).tolist(),)),
        Wrong("graph", "graph", (lambda *g: taken_away()(*g) * torch.ones(1, requires_grad=True),)),
    ],
    "8.3": [
        Wrong("a sine", "slope", (by_a_sine, by_hand)),
        Wrong("in place", "changed `v`", (sums_in_place, by_hand)),
        Wrong("one number", "shape ()", (lambda *g: tooth()(*g).sum(), by_hand)),
        Wrong("twice", "times as bright", (by_the_floor, twice_as_steep)),
        Wrong("a pair", "2 numbers", (by_the_floor, lambda *g: (steepness()(*g), 0.0))),
    ],
    "8.4": [
        Wrong("nine tenths", "still fires", (nine_tenths,)),
        Wrong("never", "does not fire", (lambda s, low, high: -1e6,)),
        Wrong("not in the middle", "differs from the reference", (seven_tenths,)),
        Wrong("in place", "changed `sticker`", (centred_in_place,)),
        Wrong("two numbers", "2 numbers", (lambda *g: (threshold()(*g), 0.0),)),
    ],
    "8.5": [
        Wrong("x", "changed `x`", (changes_x,)),
        Wrong("constant", "mean 0 anyway", (always_half,)),
        Wrong("overlap", "elsewhere", (overlap,)),
        Wrong("all together", "One number came back", (lambda *g: noticed()(*g).sum(),)),
        Wrong("negative", "yours go from", (lambda *g: -noticed()(*g),)),
        Wrong("a list", "list", (lambda *g: noticed()(*g).tolist(),)),
        Wrong("two maps", "shape (2, 8)", (lambda *g: torch.stack([noticed()(*g)] * 2),)),
    ],
    "8.6": [
        Wrong("the given", "`second`", (changes_the_given,)),
        Wrong("single precision", "in torch.float32", (single,)),
        Wrong("half", "slopes of the new cells are 2.5", (half_the_weight,)),
        Wrong("on for positive sums", "hangs on ΣZ", (without_a_bias,)),
        Wrong("a hair above 0", "rounding decides", (a_hair_above,)),
        Wrong("first", "*last* input", (new_unit_first,)),
        Wrong("not taken away", "Every logit of every picture moves by 5", (not_taken_away,)),
        Wrong("one network", "Two layers", (one_network,)),
        Wrong("second as before", "of the shape", (two_units,)),
    ],
    "8.7": [
        Wrong("scaled", "times what is asked for", (scaled_logits,)),
        Wrong("detached", "no longer 1", (lambda y, d, weight: gated()(y.detach(), d, weight),)),
        Wrong("faint", "times what is asked for", (faint,)),
        Wrong("rounded", "The logits move", (rounded,)),
        Wrong("single precision", "in torch.float32", (lambda *given: gated()(*given).float(),)),
        Wrong("half open", "flat at 0", (half_open,)),
        Wrong("every d", "*another* picture", (every_d,)),
        Wrong("for five classes", "For one picture alone", (for_five_classes,)),
        Wrong("one column", "shape", (lambda y, d, weight: gated()(y, d, weight)[:, :1],)),
    ],
}

ALSO_RIGHT = {
    "8.1": [(flat_head(),), (cell_by_cell,)],
    "8.2": [(taken_away(),), (by_the_difference,)],
    "8.3": [(tooth(), steepness()), (by_the_floor, by_hand)],
    "8.4": [(threshold(),), (by_trying,)],
    "8.5": [(noticed(),), (against_the_rest,)],
    "8.6": [(for_all(),), (louder_unit,), (weight_on_the_way_out,)],
    "8.7": [(gated(),), (by_the_maximum,), (plus_and_minus,)],
}
