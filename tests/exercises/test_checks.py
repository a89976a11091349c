"""The framework of the checks: what it catches, and how it says it."""

from pathlib import Path

import pytest
import torch
import wrong_ch04

import xai_course
import xai_lib
from xai_course.checks import Result, available, check, registry
from xai_course.checks.advice import usual_cause


def right(model, x, target):
    x = x.detach().clone().requires_grad_(True)
    return torch.autograd.grad(model(x)[torch.arange(len(x)), target].sum(), x)[0]


@pytest.mark.parametrize(
    "answers",
    [
        (...,),
        (),
        (NotImplemented,),
        (lambda model, x, target: ...,),
        (lambda model, x, target: (1, ...),),
        (lambda model, x, target: x * ...,),
    ],
)
def test_what_is_not_filled_in_is_not_attempted(answers):
    assert check("2.1", *answers).status == "not attempted"


def test_an_ellipsis_inside_a_value_is_not_attempted():
    assert check("2.6", right, {"gradient": True, "gradient_x_input": ...}).status == "not attempted"


def test_raising_notimplementederror_is_not_attempted():
    def answer(model, x, target):
        raise NotImplementedError

    assert check("2.1", answer).status == "not attempted"


@pytest.mark.parametrize(
    "stumble",
    [
        lambda bits: bits.mean(),
        lambda bits: 1 - bits,
        lambda bits: bits[None].std(),
        lambda bits: bits @ bits.T,
    ],
)
def test_what_torch_cannot_do_with_true_and_false_is_no_stub(stumble):
    result = check("2.1", lambda model, x, target: stumble(x[0, 0] > 0.5))
    assert result.status == "wrong"


def test_true_and_false_where_numbers_belong_are_explained():
    assert "`.double()`" in check("2.1", lambda model, x, target: (x > 0.5).mean()).look


def test_an_unknown_identifier_names_those_that_there_are():
    with pytest.raises(KeyError, match=r"no exercise '9\.9'; there are .*2\.1, 2\.2"):
        check("9.9", right)


def test_identifiers_are_in_the_order_of_the_chapters():
    assert available() == sorted(available(), key=lambda name: [int(part) for part in name.split(".")])


def test_an_identifier_is_given_once():
    with pytest.raises(ValueError, match=r"'2\.1' has a check already"):
        registry.exercise("2.1", "again")(lambda answer: "")


def test_a_call_instead_of_a_function_is_explained():
    result = check("2.1", torch.zeros(2))
    assert result.status == "wrong"
    assert "`Tensor`" in result.message and "without calling it" in result.look


def test_a_missing_answer_is_explained():
    result = check("2.4", right)
    assert result.status == "wrong"
    assert 'check("2.4", integrate, steps_needed)' in result.look


def test_an_exception_shows_the_readers_own_line_and_its_usual_cause():
    def answer(model, x, target):
        logits = model(x)
        return torch.autograd.grad(logits.sum(), x)[0]

    result = check("2.1", answer)
    assert result.status == "wrong"
    assert "RuntimeError" in result.message
    assert "in answer" in result.code and "torch.autograd.grad(logits.sum(), x)[0]" in result.code
    assert "requires_grad_(True)" in result.look


def test_where_no_line_is_shown_none_is_to_be_read():
    assert "above" in usual_cause(OSError("7")) and "above" not in usual_cause(OSError("7"), line=False)


def test_the_line_shown_is_the_readers_and_not_the_librarys():
    def answer(model, x, target):
        return xai_lib.gradient(model, x, target="cat")

    result = check("2.1", answer)
    assert result.status == "wrong" and "target must be an int" in result.message
    assert "in answer" in result.code and 'target="cat"' in result.code


def test_the_line_shown_is_the_readers_and_not_the_checks():
    """The function that the check of 2.3 hands in raises what the reader gives to it."""

    def answer(grad, x, n_samples, noise, generator):
        return grad("no image")

    result = check("2.3", answer)
    assert result.status == "wrong"
    assert "in answer" in result.code and 'grad("no image")' in result.code


@pytest.mark.parametrize("package", [xai_lib, xai_course])
def test_a_folder_whose_name_begins_like_ours_is_the_readers(package):
    """``xai_lib_homework/`` beside ``xai_lib/``."""
    folder = Path(next(iter(package.__path__)))
    names = {}
    for file in (folder.with_name(folder.name + "_homework") / "mine.py", folder / "ours.py"):
        exec(compile("def answer(model, x, target):\n    return 1 / 0\n", str(file), "exec"), names)
        code = check("2.1", names["answer"]).code
        assert code == ("line 2, in answer" if file.name == "mine.py" else "")


@pytest.mark.parametrize(
    ("raise_it", "keyword"),
    [
        (lambda x: torch.autograd.grad(x.clone().requires_grad_(True).square(), x), "Sum the chosen logits"),
        (lambda x: torch.autograd.grad(_leaf(x).sum(), _leaf(x)), "another tensor"),
        (lambda x: _twice(_leaf(x).square().sum()), "one backward pass"),
        (lambda x: _leaf(x).add_(1), "in place"),
        (lambda x: torch.ones(4, 5, dtype=x.dtype) @ torch.ones(5, 3), "float64"),
        (lambda x: x * torch.ones(7, dtype=x.dtype), "shapes"),
        (lambda x: _leaf(x).numpy(), "numpy"),
        (lambda x: _leaf(x).grad.abs(), "`None`"),
        (lambda x: undefined_name, "misspelt"),  # noqa: F821
        (lambda x: (lambda: 0)(x), "first line of the stub"),
        (lambda x: x[99], "Print the shape"),
        (lambda x: {}["key"], "no such key"),
        (lambda x: 1 / 0, "divisor is zero"),
    ],
)
def test_every_usual_cause_is_recognised_from_what_torch_raises(raise_it, keyword):
    result = check("2.1", lambda model, x, target: raise_it(x))
    assert result.status == "wrong"
    assert keyword in result.look, result


@pytest.mark.parametrize(
    ("meet", "said"),
    [
        (lambda x: torch.where(x[:, 0] > 0, x[:1], x[:1]), ["(4, 6, 6) and (1, 3, 6, 6)", "(4, 1, 6, 6)"]),
        (lambda x: x[0, 0] * torch.ones(3, 6).double(), ["(6, 6) and (3, 6)", "matched from the right"]),
        (lambda x: x[:, 0, 0, :5] * x[:, 0, 0, 0], ["(4, 5) and (4,)", "make it (4, 1) with `.view(-1, 1)`"]),
        (lambda x: x[:1] * x[:, 0], ["(1, 3, 6, 6) and (4, 6, 6)", "(4, 1, 6, 6)"]),
        (lambda x: x[:, 0, 0, 0] * x[:, 0], ["(4,) and (4, 6, 6)", "(4, 1, 1)"]),
        (lambda x: x[:, 0, 0, 0] * x, ["One number for each image", "(4, 1, 1, 1)"]),
        (lambda x: x.sub_(x[:, 0]), ["(4, 3, 6, 6) and (4, 6, 6)"]),
        (lambda x: x[0, 0].expand(5, 7), ["meet here"]),
        (lambda x: x[0, 0] @ x[0, 0, :5], ["(n, m) @ (m, k)"]),
        (lambda x: x.view(5, -1), ["as many numbers"]),
    ],
)
def test_shapes_that_do_not_fit_are_named_and_told_how_to(meet, said):
    result = check("2.1", lambda model, x, target: meet(x))
    assert result.status == "wrong"
    for words in said:
        assert words in result.look, result
    assert ("each image" in result.look) == any("each image" in words for words in said)


def test_the_functions_of_an_exercise_in_parts_are_judged_while_its_dict_is_blank():
    blank = dict.fromkeys(wrong_ch04.AXIOMS, ...)
    right = check("4.6", wrong_ch04.game(), blank)
    assert right.status == "not attempted" and "`exact_shapley` is right. Now the dict" in right.message
    assert (
        "`rise_map` is right"
        in check("4.5", wrong_ch04.rise(), dict.fromkeys(wrong_ch04.CONSTANT, ...)).message
    )
    assert check("4.6", lambda value, d: ..., blank).status == "not attempted"
    wrong = check("4.6", lambda value, d: torch.zeros(d + 1), blank)
    assert wrong.status == "wrong" and "shape" in wrong.message


def _leaf(x):
    return x.detach().clone().requires_grad_(True)


def _twice(score):
    score.backward()
    score.backward()


def test_results_that_are_no_tensor_or_have_another_shape_are_explained():
    assert "`None`" in check("2.1", lambda model, x, target: None).message
    assert "`list`" in check("2.1", lambda model, x, target: [1.0]).message
    assert "(4, 3, 6, 6)" in check("2.1", lambda model, x, target: x[0]).message
    assert "NaN" in check("2.1", lambda model, x, target: x * float("nan")).message


def test_the_notebooks_random_state_and_grad_mode_are_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.no_grad():
        assert check("2.1", right).passed
        assert not torch.is_grad_enabled()
    assert torch.equal(before, torch.get_rng_state())


def test_the_same_answer_gets_the_same_words():
    assert repr(check("2.1", right)) == repr(check("2.1", right))


def test_a_result_reads_as_text():
    result = Result(
        "2.1", "The simple gradient", "wrong", "Too loud.", "Turn it down.", "line 3, in f:  x = 1"
    )
    assert (
        repr(result) == "2.1 · not yet: Too loud.\n    line 3, in f:  x = 1\n  Where to look: Turn it down."
    )


@pytest.mark.parametrize(
    ("status", "words", "icon"),
    [("not attempted", "not attempted yet", "○"), ("wrong", "not yet", "✗"), ("passed", "passed", "✓")],
)
def test_a_result_shows_icon_and_words_and_takes_the_pages_own_text_colour(status, words, icon):
    page = Result("2.1", "A <title>", status, "Look at `x < 1`.", "There.", "a < b")._repr_html_()
    assert words in page and icon in page
    assert "A &lt;title&gt;" in page and "<code" in page and "x &lt; 1</code>" in page and "a &lt; b" in page
    assert "color:inherit" in page and 'role="status"' in page


def test_a_message_has_emphasis_outside_of_code_and_no_other_markup():
    page = Result(
        "2.1", "", "wrong", "One *past* the `a *b* c` of 2 * 3 * 4, <b>*</b>, **kwargs."
    )._repr_html_()
    assert "One <em>past</em> the <code" in page and "a *b* c</code>" in page
    assert "2 * 3 * 4" in page and "**kwargs" in page and "<b>" not in page and page.count("<em>") == 1
