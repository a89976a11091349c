"""What every explainer promises, whatever its method: one table, one test a promise."""

import contextlib
import functools
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import xai_lib
from tests.architectures import InPlace, Plain, Reused, build, images, relative_error
from tests.explainers import EXPLAINERS, every_explainer, some
from tests.promises import assert_as_found, snapshot


def same(ours, reference, tolerance=1e-5):
    """Equal up to rounding, also where a map is zero."""
    assert ours.shape == reference.shape
    scale = reference.abs().max().item()
    assert (ours.double() - reference.double()).abs().max().item() <= tolerance * max(scale, 1e-12)


def test_the_table_has_every_explainer_of_the_library():
    takes_model_and_images = {
        name
        for name in xai_lib.__all__
        if callable(function := getattr(xai_lib, name))
        and list(getattr(function, "__annotations__", {}))[:2] == ["model", "x"]
        and function.__annotations__.get("return") is torch.Tensor
        and "heatmaps" not in function.__annotations__  # a judge of maps
    }
    assert takes_model_and_images == set(EXPLAINERS)


# ------------------------------------------------------------------------------------------------- the result


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 3),
    height=st.integers(12, 26),
    width=st.integers(12, 26),
    name=st.sampled_from(sorted(EXPLAINERS)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_shape_dtype_and_detachment(n, height, width, name, dtype):
    explain, x = EXPLAINERS[name], images(n, (height, width), dtype=dtype)
    result = explain(build(Plain).to(dtype), x.requires_grad_())
    assert result.shape == explain.shape(x)
    assert result.dtype == dtype and not result.requires_grad and result.isfinite().all()
    assert x.grad is None


@every_explainer
def test_the_result_is_on_the_images_device(explain, device):
    x = images(2, device=device)
    assert explain(build(Plain).to(device), x, 1).device == x.device


@some(kind="black-box")
def test_many_classes_add_an_axis_and_change_nothing(explain, device):
    model, x = build(Plain).double().to(device), images(2, dtype=torch.float64, device=device)
    target = torch.tensor([[0, 3, 1], [4, 4, 2]], device=device)
    together = explain(model, x, target)
    assert together.shape == (2, 3, *x.shape[-2:])
    for k in range(3):
        same(together[:, k], explain(model, x, target[:, k]), 1e-9)


@every_explainer
def test_each_image_is_explained_for_itself(explain, device):
    """A batch gives what its images give one by one: with classes given, and with the model's own choice."""
    model, x = build(Plain).double().to(device), images(3, dtype=torch.float64, device=device)
    choice = model(x).argmax(1)
    together = explain(model, x)
    if explain.name != "smooth_grad":  # alone an image meets other noise: only the own choice is compared
        alone = [explain(model, image[None], int(c)) for image, c in zip(x, choice, strict=True)]
        same(together, torch.cat(alone), 1e-9)
    assert relative_error(together, explain(model, x, choice)) < 1e-12


@every_explainer
def test_targets_of_every_kind_agree(explain):
    model, x = build(Plain), images(2)
    expected = explain(model, x, torch.tensor([2, 2]))
    for target in (
        2,
        np.int64(2),
        torch.tensor(2),
        np.array([2, 2]),
        torch.tensor([2, 2], dtype=torch.uint8),
    ):
        assert torch.equal(explain(model, x, target), expected)


@some(batched=True)
@pytest.mark.parametrize("batch_size", [1, 3, np.int64(7), 1000])
def test_the_result_does_not_depend_on_batch_size(explain, batch_size, device):
    model, x = build(Plain).double().to(device), images(3, dtype=torch.float64, device=device)
    same(explain(model, x, 1, batch_size=batch_size), explain(model, x, 1), 1e-9)


@some(random=True)
def test_randomness_comes_from_the_generator_alone(explain, device):
    model, x = build(Plain).to(device), images(2, device=device)

    def generator(seed):
        return torch.Generator(device).manual_seed(seed)

    torch.manual_seed(0)
    first = explain(model, x, 1, generator=generator(5))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert torch.equal(explain(model, x, 1, generator=generator(5)), first)
    assert torch.equal(torch.get_rng_state(), state)
    if explain.name != "shapley":  # exact: no draw is left
        assert not torch.equal(explain(model, x, 1, generator=generator(6)), first)


@some(random=True)
def test_the_default_dtype_changes_no_draw(explain):
    model, x = build(Plain), images(2)
    expected = explain(model, x, 1)
    torch.set_default_dtype(torch.float64)
    try:
        result = explain(model, x, 1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert result.dtype == torch.float32
    same(result, expected)


@every_explainer
@pytest.mark.parametrize("size", [(13, 13), (41, 12)])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_of_any_size_and_channels(explain, channels, size):
    model = build(Plain)
    model.features[0] = nn.Conv2d(channels, 8, 3, padding=1).eval()
    x = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(3))
    assert explain(model, x, 1).shape == explain.shape(x)


class OnePixel(nn.Module):
    """A network that any image fits, down to one pixel."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(*[nn.Identity()] * 7, nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU()))
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


@every_explainer
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (513, 257)])
def test_images_of_one_pixel_and_large_odd_ones(explain, size):
    one = size == (1, 1)
    if explain.name in ("lime", "shapley") and one:
        options = {"n_samples": 4}
    else:
        options = {"rise": {"grid": 1}, "occlusion": {"window": min(size[0], 128)}}.get(explain.name, {})
    options |= {"upsample": True} if "upsample" in explain.flags else {}
    x = images(1, size)
    assert explain(build(OnePixel), x, 1, **options).shape == explain.shape(x)


@some(random=False)
def test_a_batch_of_forty_is_forty_images(explain):
    model, x = build(Plain).double(), images(40, dtype=torch.float64)
    together = explain(model, x, 1)
    same(together, torch.cat([explain(model, image[None], 1) for image in x]), 1e-9)


class Explained(torch.utils.data.Dataset):
    """Explains each image in the worker that loads it."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        torch.set_num_threads(1)
        return xai_lib.grad_cam(build(Plain), images(3)[i : i + 1], 1, layer="features.7")[0]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_explaining_inside_a_data_loader(context):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked child has no thread pool
    try:
        loader = torch.utils.data.DataLoader(
            Explained(), batch_size=3, num_workers=1, multiprocessing_context=context
        )
        (maps,) = list(loader)
    finally:
        torch.set_num_threads(threads)
    same(maps, xai_lib.grad_cam(build(Plain), images(3), 1, layer="features.7"))


@every_explainer
def test_the_memory_format_of_the_images_does_not_matter(explain):
    model, wide = build(Plain), images(2, (17, 42))
    x = wide[..., ::2]
    assert not x.is_contiguous()
    expected = explain(model, x.contiguous(), 1)
    same(explain(model, x, 1), expected)
    same(explain(model, x.contiguous(memory_format=torch.channels_last), 1), expected)
    one = images(1)
    same(explain(model, one.expand(2, -1, -1, -1), 1), explain(model, one.repeat(2, 1, 1, 1), 1))


@every_explainer
def test_it_can_be_pickled_with_its_options(explain):
    given = {k: v for k, v in explain.settings(images(1)).items() if k != "generator"}
    again = pickle.loads(pickle.dumps(functools.partial(explain.function, **given)))
    assert again.func is explain.function and again.keywords.keys() == given.keys()


@every_explainer
def test_deterministic_algorithms_are_no_obstacle(explain, device):
    model, x = build(Plain).to(device), images(2, device=device)
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    try:
        first = explain(model, x, 1)
        assert torch.equal(explain(model, x, 1), first) or device.type == "cuda"
    finally:
        torch.use_deterministic_algorithms(False)


# ------------------------------------------------------------------------------------------------- the types


@every_explainer
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_right_up_to_its_own_rounding(explain, dtype):
    model, x = build(Plain), images(2).to(dtype)
    result = explain(build(Plain).to(dtype), x, 1)
    assert result.dtype == dtype and result.isfinite().all()
    if explain.name == "score_cam":  # scaled by extremes that rounding moves: only the picture is compared
        return
    reference = explain(model, x.float(), 1).flatten()
    if explain.random and explain.kind == "gradient":  # other noise in another type
        return
    cosine = torch.nn.functional.cosine_similarity(result.float().flatten(), reference, dim=0)
    assert cosine > (0.97 if dtype == torch.bfloat16 else 0.995), cosine


@every_explainer
def test_under_autocast_the_passes_are_the_callers_and_the_sums_are_ours(explain, device):
    model, x = build(Plain).to(device), images(2, device=device)
    expected = explain(model, x, 1)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        result = explain(model, x, 1)
        assert torch.is_autocast_enabled(device.type)
    assert result.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(result.flatten(), expected.flatten(), dim=0)
    assert cosine > 0.95, cosine
    if explain.name not in ("occlusion", "lime", "shapley", "rise"):
        assert not torch.equal(result, expected), "the model's passes did not run under autocast"


# ---------------------------------------------------------------------------------- the surroundings


@every_explainer
@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_grad_mode_does_not_matter(explain, around, device):
    model, x = build(Plain).to(device), images(2, device=device)
    expected = explain(model, x, 1)
    with around():
        was = torch.is_grad_enabled()
        result = explain(model, x, 1)
        assert torch.is_grad_enabled() == was
        inside = explain(model, x + 0, torch.tensor([1, 1], device=device))
    for other in (result, inside):
        assert torch.equal(other, expected) and not other.is_inference() and not other.requires_grad


@every_explainer
def test_no_graph_and_no_tensor_is_left_behind(explain):
    """Twenty-five calls with the collector off: nothing hangs in a cycle, no hook stays."""
    model, x = build(Plain), images(2)
    explain(model, x, 1)
    hooks = snapshot(model)["hooks"]
    gc.collect()
    gc.freeze()  # what was there before is neither searched nor counted
    gc.disable()
    try:
        before = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
        for _ in range(25):
            alive = weakref.ref(explain(model, x, 1))
        assert alive() is None
        after = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    finally:
        gc.enable()
        gc.unfreeze()
    assert after <= before
    assert snapshot(model)["hooks"] == hooks


class Meeting(Plain):
    """Two threads meet in every forward pass, with both images under way in one model."""

    barrier: threading.Barrier | None = None

    def forward(self, x):
        x = self.features(x)
        if self.barrier is not None:
            with contextlib.suppress(threading.BrokenBarrierError):
                self.barrier.wait(timeout=2)
        return self.head(x.mean((2, 3)))


@every_explainer
def test_two_threads_with_one_model_each_get_their_own_map(explain):
    model, (a, b) = build(Meeting), images(2).split(1)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    alone = [explain(model, a, 1), explain(model, b, 2)]
    before = snapshot(model)
    together, errors = [None, None], []

    def work(i, x, target):
        try:
            together[i] = explain(model, x, target)
        except BaseException as error:
            errors.append(error)

    model.barrier = threading.Barrier(2)
    threads = [threading.Thread(target=work, args=job) for job in ((0, a, 1), (1, b, 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert not torch.equal(*alone)
    for ours, expected in zip(together, alone, strict=True):
        same(ours, expected)
    assert_as_found(model, before)


# ------------------------------------------------------------------------------------------------- the model


def used_model(kind=Plain):
    """A model in the middle of its life: gradients stored, one layer frozen, one module with a hook."""
    model = build(kind).double()
    model(images(2, dtype=torch.float64)).sum().backward()
    model.features[0].weight.requires_grad_(False)
    model.features[1].register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    "explain, kind",
    [
        (e, kind)
        for e in EXPLAINERS.values()
        for kind in (Plain, InPlace, Reused)
        if kind is not Reused or "layer" not in e.options  # that model has no layer of this name
    ],
    ids=lambda v: getattr(v, "name", getattr(v, "__name__", v)),
)
def test_the_model_is_left_as_found(explain, kind):
    model, x = used_model(kind), images(2, dtype=torch.float64)
    before, pixels = snapshot(model), x.clone()
    explain(model, x, 1)
    assert_as_found(model, before)
    assert torch.equal(x, pixels)


@every_explainer
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["features.0", "features.7", "head"])
def test_the_model_is_left_as_found_when_a_pass_stops(explain, error, where):
    model, x = used_model(), images(2, dtype=torch.float64)

    def stop(*_):
        raise error("stop")

    model.get_submodule(where).register_forward_hook(stop)
    before = snapshot(model)
    with pytest.raises(error, match="stop"):
        explain(model, x, 1)
    assert_as_found(model, before)


def _by_data(model):
    model.count.data += 1


def _by_numpy(model):
    model.count.numpy()[...] += 1


def _by_method(model):
    model.count.add_(1)


def _by_resizing(model):
    model.count.resize_(5).fill_(2)


def _by_another(model):
    model.count = model.count + 1


def _by_mode(model):
    model.features[4].training = True
    model.features[4].training = False
    model.features.training = True


def _by_weight_data(model):
    model.head.weight.data = model.head.weight.data + 0.0


WAYS = {f.__name__[1:]: f for f in (_by_data, _by_numpy, _by_method, _by_resizing, _by_another, _by_mode)}


@every_explainer
@pytest.mark.parametrize("change", [*WAYS.values(), _by_weight_data], ids=[*WAYS, "by_weight_data"])
def test_what_a_forward_pass_changes_is_put_back(explain, change):
    class Changing(Plain):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(2))

        def forward(self, x):
            change(self)
            return super().forward(x)

    model = build(Changing)
    expected = explain(build(Plain), images(2), 1)
    objects = [*model.parameters(), *model.buffers()]
    places = [t.data_ptr() for t in objects if isinstance(t, nn.Parameter)]
    before = snapshot(model)
    same(explain(model, images(2), 1), expected)
    assert_as_found(model, before)
    assert all(a is b for a, b in zip(objects, [*model.parameters(), *model.buffers()], strict=True))
    assert places == [t.data_ptr() for t in model.parameters()]


@every_explainer
def test_a_model_that_overwrites_its_own_weights_is_refused(explain):
    class Eroding(Plain):
        def forward(self, x):
            self.head.weight.data *= 1.001
            return super().forward(x)

    model = build(Eroding)
    with pytest.raises(RuntimeError, match=r"overwrites values of its own parameter 'head\.weight'"):
        explain(model, images(1), 1)
    assert all(p.requires_grad for p in model.parameters())


@every_explainer
def test_a_first_layer_that_works_in_place_does_not_touch_the_images(explain, device):
    class Shifting(Plain):
        def forward(self, x):
            return super().forward(x.sub_(0.25))

    model, x = build(Shifting).to(device), images(2, device=device)
    pixels = x.clone()
    first = explain(model, x, 1)
    assert torch.equal(x, pixels)
    assert torch.equal(explain(model, x, 1), first)


@every_explainer
def test_frozen_weights_are_no_obstacle(explain):
    model, x = build(Plain), images(2)
    expected = explain(model, x, 1)
    assert torch.equal(explain(model.requires_grad_(False), x, 1), expected)
    assert not any(p.requires_grad for p in model.parameters())


@every_explainer
def test_wrappers_are_no_obstacle(explain):
    model, x = build(Plain), images(2)
    same(explain(nn.DataParallel(model).eval(), x, 1), explain(model, x, 1))


@every_explainer
def test_nan_from_the_model_is_said_and_where_it_came_from(explain):
    model, x = build(Plain), images(2)
    with torch.no_grad():
        model.features[3].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"model gives NaN or infinite .* first in its module 'features\.3'"):
        explain(model, x, 1)
