"""The usual cause of what the reader's code raises, and what to do about it."""

import builtins
import re

# Exception's type, what its message contains, what usually causes it.
_CAUSES: list[tuple[type, str, str]] = [
    (
        RuntimeError,
        "does not require grad",
        "Autograd did not record how this number depends on what you differentiate by. For pixels or "
        "feature maps ask before the forward pass, `x = x.detach().clone().requires_grad_(True)`; for a "
        "gradient of a gradient give the first one `create_graph=True`; no `torch.no_grad()` around, no "
        "`.detach()` after.",
    ),
    (
        RuntimeError,
        "not have been used in the graph",
        "The score was computed from another tensor than the one you differentiate by. Pass the tensor that "
        "`requires_grad_` to the model, and differentiate by that same tensor.",
    ),
    (
        RuntimeError,
        "backward through the graph a second time",
        "One forward pass serves one backward pass. Run the model again in each turn of the loop.",
    ),
    (
        RuntimeError,
        "implicitly created only for scalar outputs",
        "A backward pass starts from one number. Sum the chosen logits over the batch: the images do not "
        "mix, so each still gets its own gradient.",
    ),
    (
        RuntimeError,
        "leaf variable that requires grad",
        "You change, in place, a tensor that autograd watches. Make a new one: `x = x + noise`, not "
        "`x += noise`.",
    ),
    (
        RuntimeError,
        "modified by an inplace operation",
        "A value that the backward pass needs was overwritten. Use `a = a + b` in place of `a += b`.",
    ),
    (
        RuntimeError,
        r"\bbool\b",
        "True and False are no numbers yet: `.double()` makes 1 and 0 of them; `~` turns them round.",
    ),
    (
        RuntimeError,
        r"same dtype|expected scalar type|dtype",
        "Two tensors differ in type: this check runs in float64. Make new tensors like the image: "
        "`torch.zeros_like(x)`, `torch.randn(x.shape, generator=generator, dtype=x.dtype)`.",
    ),
    (
        RuntimeError,
        r"shape .* is invalid",
        "The new shape must hold as many numbers as the old one: multiply the sizes of each.",
    ),
    (
        RuntimeError,
        r"cannot be multiplied|size mismatch|inconsistent tensor size|batch2 tensor",
        "In a matrix product the last size on the left must be the first on the right: (n, m) @ (m, k). "
        "Print both shapes; is one to be transposed, `.T`?",
    ),
    (
        RuntimeError,
        "numpy",
        "Stay with tensors; numpy knows nothing of gradients. If you must: `.detach()` first.",
    ),
    (
        AttributeError,
        "nonetype",
        "Something is `None`. `.grad` is filled only for the tensor on which you called `requires_grad_`, "
        "and only after `backward()`; a function without `return` gives `None` too.",
    ),
    (
        NameError,
        "",
        "A name is misspelt, or the cell that defines it has not been run since the kernel started.",
    ),
    (
        TypeError,
        "argument",
        "A function is called with other arguments than it takes. Keep the first line of the stub as it was.",
    ),
    (IndexError, "", "An index is larger than that dimension. Print the shape of the tensor that you index."),
    (KeyError, "", "There is no such key. Print the keys that there are."),
    (ZeroDivisionError, "", "A divisor is zero: what should happen in that case?"),
]


_BROADCAST = re.compile(r"must match the size|must match the existing size|match the broadcast shape")


def _broadcast(shapes: list[tuple[int, ...]]) -> str:
    """What to do about tensors of these shapes, which torch could not stretch to one."""
    met = " and ".join(str(shape) for shape in shapes)
    who = f"The shapes {met} meet here" if len(shapes) > 1 else "Two shapes meet here"
    advice = (
        f"{who}, and do not fit. They are matched from the right: two sizes must be equal, or one of them 1. "
    )
    longest = max(shapes, key=len, default=())
    for short in shapes:
        if len(short) == 1 < len(longest) and short[0] == longest[0]:
            ones = ", 1" * (len(longest) - 1)
            what = "One number for each image" if len(longest) == 4 else "One number for each row"
            return advice + (
                f"{what} has the shape ({short[0]},): make it ({short[0]}{ones}) with `.view(-1{ones})`."
            )
        if 1 < len(short) < len(longest):
            with_one = (short[0], 1, *short[1:])
            return advice + (
                f"`t[:, None]` inserts a 1 as the second size, {with_one} out of {short}; `t[None]` as the "
                "first, `t[..., None]` as the last."
            )
    return advice + (
        "`t[:, None]` inserts a 1 as the second size, `t[..., None]` as the last. Is every dimension where "
        "you think it is?"
    )


def usual_cause(error: Exception, *, line: bool = True) -> str:
    if isinstance(error, RuntimeError) and _BROADCAST.search(str(error).lower()):
        return _broadcast(getattr(error, "shapes", []))
    for kind, pattern, cause in _CAUSES:
        if isinstance(error, kind) and re.search(pattern, str(error).lower()):
            return cause
    if type(error).__name__ not in vars(builtins):
        return "The message comes from a library that your code calls: check what you pass to it."
    if line:  # of the reader's own, that stands above
        return "Read the line above, and print what goes into it."
    return "Print what your function is given and what it returns, step by step."
