"""Wrong answers to the exercises of chapter 8, as people give them; and right ones that look unlike ours.

The mistakes that a check recognises by what they give stand beside it, in ``ch08_mistakes.py``, and each is
handed in by the tests. Here they are written anew, from the statement alone, with what a check finds
otherwise: a property, a shape, a side effect.
"""

import copy

import torch
from planted import Wrong
from torch import nn

from xai_course.checks.ch08_mistakes import flat_head, taken_away, threshold


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
    "8.4": [
        Wrong("nine tenths", "still fires", (nine_tenths,)),
        Wrong("never", "does not fire", (lambda s, low, high: -1e6,)),
        Wrong("not in the middle", "differs from the reference", (seven_tenths,)),
        Wrong("in place", "changed `sticker`", (centred_in_place,)),
        Wrong("two numbers", "2 numbers", (lambda *g: (threshold()(*g), 0.0),)),
    ],
}

ALSO_RIGHT = {
    "8.1": [(flat_head(),), (cell_by_cell,)],
    "8.2": [(taken_away(),), (by_the_difference,)],
    "8.4": [(threshold(),), (by_trying,)],
}
