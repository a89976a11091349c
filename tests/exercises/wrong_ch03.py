"""Wrong answers to the exercises of chapter 3, as people give them; and right ones that look unlike ours."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from planted import Wrong
from scipy import ndimage


def enlarge(maps, size, mode="bilinear", align_corners=False):
    how = {} if mode == "nearest" else {"align_corners": align_corners}
    return F.interpolate(maps[:, None], size, mode=mode, **how)[:, 0]


def rows(target):
    return torch.arange(len(target))


def own_logit(y, target):
    return y[rows(target), target].sum()


def map_max(maps):
    return maps.amax(dim=(1, 2), keepdim=True)


def map_min(maps):
    return maps.amin(dim=(1, 2), keepdim=True)


# ---- 3.1 ----
def cam(
    of=lambda weight, target: weight[target],
    made=lambda w, A: (w[:, :, None, None] * A).sum(dim=1),
    end=enlarge,
):
    """An answer to 3.1 with one part exchanged."""

    def answer(A, weight, target, size):
        return end(made(of(weight, target), A), size)

    return answer


def cam_in_place(A, weight, target, size):
    A *= weight[target][:, :, None, None]
    return enlarge(A.sum(dim=1), size)


# ---- 3.2 ----
def grad_cam(
    score=own_logit,
    alpha=lambda G: G.mean(dim=(2, 3), keepdim=True),
    made=lambda alpha, A: (alpha * A).sum(dim=1).relu(),
    end=enlarge,
    tidy=True,
):
    """An answer to 3.2 with one part exchanged."""

    def answer(model, layer, x, target):
        kept = []
        handle = layer.register_forward_hook(lambda module, given, out: kept.append(out))
        y = model(x)
        if tidy:
            handle.remove()
        (G,) = torch.autograd.grad(score(y, target), kept[0])
        return end(made(alpha(G), kept[0].detach()), x.shape[2:])

    return answer


def not_detached(model, layer, x, target):
    kept = []
    handle = layer.register_forward_hook(lambda module, given, out: kept.append(out))
    y = model(x)
    handle.remove()
    (G,) = torch.autograd.grad(own_logit(y, target), kept[0], retain_graph=True)
    maps = (G.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1).relu()
    return enlarge(maps, x.shape[2:])


def fills_parameters(model, layer, x, target):
    kept = []
    handle = layer.register_forward_hook(lambda module, given, out: (out.retain_grad(), kept.append(out))[1])
    own_logit(model(x), target).backward()
    handle.remove()
    G, A = kept[0].grad, kept[0].detach()
    return enlarge((G.mean(dim=(2, 3), keepdim=True) * A).sum(dim=1).relu(), x.shape[2:])


def in_training_mode(model, layer, x, target):
    model.train()
    return grad_cam()(model, layer, x, target)


def there_and_back(model, layer, x, target):
    maps = in_training_mode(model, layer, x, target)
    model.eval()
    return maps


def freezes(model, layer, x, target):
    for p in model.parameters():
        p.requires_grad = False
    return grad_cam()(model, layer, x.clone().requires_grad_(True), target)


def watches_the_images(model, layer, x, target):
    return grad_cam()(model, layer, x.requires_grad_(True), target)


def cuts_off(model, layer, x, target):
    maps = grad_cam()(model, layer, x, target)
    model[-1] = torch.nn.Identity()
    return maps


# ---- 3.3 ----
def gradient(head, A, score):
    A = A.detach().clone().requires_grad_(True)
    return torch.autograd.grad(score(head(A)), A)[0]


def alphas(head, A, c):
    return gradient(head, A, lambda y: y[:, c].sum()).mean(dim=(2, 3))


def largest_gap(
    by_gradient=torch.relu,
    by_weights=torch.relu,
    factor=lambda A: A.shape[2] * A.shape[3],
    end=lambda d: d.abs().max(),
):
    def answer(head, A, weight, c):
        grad = by_gradient((alphas(head, A, c)[:, :, None, None] * A).sum(dim=1))
        cam = by_weights((weight[c][:, None, None] * A).sum(dim=1))
        return end(grad - cam / factor(A))

    return answer


def alphas_of_the_given(head, A, c):
    A.requires_grad_(True)
    return torch.autograd.grad(head(A)[:, c].sum(), A)[0].mean(dim=(2, 3))


def gap_in_place(head, A, weight, c):
    found = largest_gap()(head, A, weight, c)
    A.mul_(weight[c][:, None, None])
    return found


def gap_of_itself(head, A, weight, c):
    grad = (alphas(head, A, c)[:, :, None, None] * A).sum(dim=1).relu()
    return (grad - grad).abs().max()


def recovered(row=lambda alpha, h, w: alpha[0] * h * w):
    def answer(head, A):
        return torch.stack([row(alphas(head, A, c), *A.shape[2:]) for c in range(head(A).shape[1])])

    return answer


def third(alphas=alphas, gap=None, recover=None):
    return alphas, gap or largest_gap(), recover or recovered()


# ---- 3.4 ----
def hires(score=own_logit, made=lambda G, A: (G * A).sum(dim=1)):
    return lambda head, A, target: made(gradient(head, A, lambda y: score(y, target)), A)


def hires_of_the_given(head, A, target):
    A = A.requires_grad_(True)
    return (torch.autograd.grad(own_logit(head(A), target), A)[0] * A).sum(dim=1).detach()


def hires_on_the_graph(head, A, target):
    A = A.clone().requires_grad_(True)
    return (torch.autograd.grad(own_logit(head(A), target), A)[0] * A).sum(dim=1)


def gap(
    total=lambda m: m.sum(dim=(1, 2)),
    zero=torch.zeros_like,
    pick=lambda t: t,
    end=lambda d, added: d.abs(),
    bias=1,
):
    def answer(maps, head, A, target):
        n, c = rows(target), pick(target)
        added = head(A)[n, c] - bias * head(zero(A))[n, c]
        return end(total(maps) - added, added)

    return answer


def verdicts(**changed):
    right = {
        "hires, flatten + linear": True,
        "grad, flatten + linear": False,
        "grad, GAP + linear": True,
        "hires, two layers with a ReLU, no biases": True,
        "hires, two layers with a ReLU, with biases": False,
    }
    names = dict(zip(("hires", "grad", "pooled", "plain", "biased"), right, strict=True))
    return right | {names[key]: value for key, value in changed.items()}


def fourth(hires=hires(), gap=gap(), **changed):  # noqa: B008
    return hires, gap, verdicts(**changed)


# ---- 3.5 ----
def box(
    warm=lambda m, t: m >= t * m.max(),
    largest=lambda regions, m: np.bincount(regions.ravel())[1:].argmax() + 1,
    structure=None,
    end=lambda x, y: (x.start, y.start, x.stop, y.stop),
    empty=(0, 0, 0, 0),
):
    def answer(heatmap, threshold):
        if empty and heatmap.max() <= 0:
            return empty
        regions, _ = ndimage.label(warm(heatmap, threshold).numpy(), structure)
        y, x = ndimage.find_objects(regions)[largest(regions, heatmap) - 1]
        return end(x, y)

    return answer


def box_of_everything(heatmap, threshold):
    y, x = (heatmap >= threshold * heatmap.max()).nonzero(as_tuple=True)
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def with_the_maximum(regions, heatmap):
    return regions.ravel()[heatmap.argmax()]


def cells(regions):
    return np.bincount(regions.ravel())[1:]


def last_of_the_largest(regions, heatmap):
    return len(cells(regions)) - cells(regions)[::-1].argmax()


def warmest_of_the_largest(regions, heatmap):
    sums = ndimage.sum(heatmap.numpy(), regions, np.arange(1, regions.max() + 1))
    return 1 + np.lexsort((sums, cells(regions)))[-1]


def leftmost_of_the_largest(regions, heatmap):
    firsts = [x.start for _, x in ndimage.find_objects(regions)]
    return 1 + np.lexsort((-np.array(firsts), cells(regions)))[-1]


def tightest_of_the_largest(regions, heatmap):
    sides = [(y.stop - y.start) * (x.stop - x.start) for y, x in ndimage.find_objects(regions)]
    return 1 + np.lexsort((-np.array(sides), cells(regions)))[-1]


def widest(regions, heatmap):
    found = ndimage.find_objects(regions)
    return 1 + int(np.argmax([(y.stop - y.start) * (x.stop - x.start) for y, x in found]))


def my_iou(clamp=True, union=lambda a, b, shared: a + b - shared, more=0):
    def answer(a, b):
        sides = torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2]) + more
        shared = (sides.clamp_min(0) if clamp else sides).prod().double()
        below = union((a[2:] - a[:2] + more).prod(), (b[2:] - b[:2] + more).prod(), shared)
        return shared / below if below > 0 else 0.0

    return answer


def cut_in_place(heatmap, threshold):
    heatmap[heatmap < threshold * heatmap.max()] = 0
    return heatmap > 0


def iou_in_place(a, b):
    found = my_iou()(a, b)
    a[2:] -= a[:2]
    return found


def iou_of_nothing(a, b):
    shared = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp_min(0).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


# ---- 3.6 ----
def to_unit(masks):
    low, high = masks.amin(dim=(1, 2), keepdim=True), masks.amax(dim=(1, 2), keepdim=True)
    return (masks - low) / torch.where(high > low, high - low, 1)


def score_cam(
    mask=lambda maps, size: to_unit(enlarge(maps, size)),
    score=lambda y, target: y.softmax(dim=1)[:, target],
    weigh=lambda weights, varies: weights * varies,
    made=lambda weights, maps, masks, size: enlarge(
        (weights[:, None, None] * maps).sum(dim=0).relu()[None], size
    )[0],
    chunks=lambda K, b: [slice(k, k + b) for k in range(0, K, b)],
):
    """An answer to 3.6 with one part exchanged. ``score`` sees one chunk at a time."""

    @torch.no_grad()
    def answer(model, A, x, target, batch_size):
        maps, size = A[0], x.shape[2:]
        masks = mask(maps, size)
        varies = maps.amax(dim=(1, 2)) > maps.amin(dim=(1, 2))
        parts = [score(model(x * masks[part][:, None]), target) for part in chunks(len(maps), batch_size)]
        weights = torch.cat(parts)
        weights = F.pad(weights, (0, len(maps) - len(weights)))
        return made(weigh(weights, varies), maps, masks, size)

    return answer


def divides_by_zero(masks):
    low, high = masks.amin(dim=(1, 2), keepdim=True), masks.amax(dim=(1, 2), keepdim=True)
    return (masks - low) / (high - low)


def over_channels(model, A, x, target, batch_size):
    return score_cam(
        score=lambda y, c: y[:, c],
        weigh=lambda y, varies: torch.where(varies, y, -torch.inf).softmax(dim=0),
    )(model, A, x, target, batch_size)


def with_autograd(model, A, x, target, batch_size):
    weights = []
    for some in A[0].split(batch_size):
        p = model(x * to_unit(enlarge(some, x.shape[2:]))[:, None]).softmax(dim=1)[:, target]
        weights.append(p * (some.amax(dim=(1, 2)) > some.amin(dim=(1, 2))))
    return enlarge((torch.cat(weights)[:, None, None] * A[0]).sum(dim=0).relu()[None], x.shape[2:])[0]


@torch.no_grad()
def masks_in_place(model, A, x, target, batch_size):
    found = only_what_varies(model, A, x, target, batch_size)
    x *= to_unit(enlarge(A[0, :1], x.shape[2:]))
    return found


@torch.no_grad()
def long_winded(model, A, x, target, batch_size):
    K = A.shape[1]
    H = x.shape[2]
    W = x.shape[3]
    weights = []
    start = 0
    while start < K:
        stop = min(start + batch_size, K)
        chunk = []
        alive = []
        for k in range(start, stop):
            mask = A[:, k : k + 1]
            mask = F.interpolate(mask, (H, W), mode="bilinear", align_corners=False)
            low = mask.min()
            high = mask.max()
            if high > low:
                mask = (mask - low) / (high - low)
                alive.append(1.0)
            else:
                mask = torch.zeros_like(mask)
                alive.append(0.0)
            chunk.append(x * mask)
        logits = model(torch.cat(chunk))
        p = logits.softmax(dim=1)
        p = p[:, target]
        weights.append(p * torch.tensor(alive))
        start = stop
    weights = torch.cat(weights)
    heat = torch.zeros_like(A[0, 0])
    for k in range(K):
        heat = heat + weights[k] * A[0, k]
    heat = heat.relu()
    heat = heat[None, None]
    heat = F.interpolate(heat, (H, W), mode="bilinear", align_corners=False)
    return heat[0, 0]


# ---- 3.7 ----
def brightest(maps):
    index = maps.flatten(1).argmax(dim=1)
    return index % maps.shape[2], index // maps.shape[2]


def last_brightest(maps):
    x, y = brightest(maps.flip(1, 2))
    return maps.shape[2] - 1 - x, maps.shape[1] - 1 - y


def centre_of_mass(maps):
    mass = maps.clamp_min(0) / maps.clamp_min(0).sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    y, x = (torch.arange(n, dtype=maps.dtype) for n in maps.shape[1:])
    return (mass.sum(dim=1) @ x).round(), (mass.sum(dim=2) @ y).round()


def exclusive(boxes, x, y):
    x0, y0, x1, y1 = boxes.unbind(1)
    return (x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)


def inclusive(boxes, x, y):
    x0, y0, x1, y1 = boxes.unbind(1)
    return (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)


def moved(*ends):
    """A box some of whose ends are one pixel too large."""
    more = torch.tensor([end in ends for end in ("x0", "y0", "x1", "y1")]).long()
    return lambda boxes, x, y: exclusive(boxes + more, x, y)


def usual_area(boxes, H, W):
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) / (H * W)


def by_height(maps):
    index = maps.flatten(1).argmax(dim=1)
    return index % maps.shape[1], index // maps.shape[1]


def study(
    ask=lambda explain, images, labels: explain(images, labels),
    point=brightest,
    inside=exclusive,
    some=lambda maps: maps.amax(dim=(1, 2)) > 0,
    middle=lambda H, W: (W // 2, H // 2),
    middle_inside=exclusive,
    area=usual_area,
    share=lambda hits: hits.double().mean(),
    error=lambda hits, centre: (hits - centre).std() / math.sqrt(len(hits)),
    sign=1,
):
    """An answer to 3.7 with one part exchanged."""

    def answer(explain, images, labels, boxes):
        maps = ask(explain, images, labels)
        hits = inside(boxes, *point(maps)) & some(maps)
        centre = middle_inside(boxes, *middle(*maps.shape[1:]))
        return {
            "pointing": share(hits),
            "centre": centre.double().mean(),
            "area": area(boxes, *maps.shape[1:]).mean(),
            "difference": sign * (hits.double().mean() - centre.double().mean()),
            "error": error(hits.double(), centre.double()),
        }

    return answer


def sizes_in_place(explain, images, labels, boxes):
    found = study()(explain, images, labels, boxes)
    boxes[:, 2:] -= boxes[:, :2]
    return found


def one_by_one(explain, images, labels):
    pairs = zip(images, labels, strict=True)
    return torch.cat([explain(image[None], int(label)) for image, label in pairs])


# ---- 3.8 ----
def product(fine, warm):
    return fine * warm[:, None]


def pearson(p, q):
    p, q = (m.flatten(1) - m.flatten(1).mean(dim=1, keepdim=True) for m in (p, q))
    return torch.cosine_similarity(p, q, dim=1).mean()


def swaps(measure=pearson, of=lambda m: m, carrier=None, exchanged=False):
    """An answer to the second part of 3.8 with one part exchanged."""

    def answer(fine, warm, x, a, b):
        still = of(product(fine(x, a), warm(x, a)))
        found = {
            "swap fine": measure(still, of(product(fine(x, b), warm(x, a)))),
            "swap warm": measure(still, of(product(fine(x, a), warm(x, b)))),
            "swap both": measure(still, of(product(fine(x, b), warm(x, b)))),
        }
        measured = "warm" if found["swap warm"] < found["swap fine"] else "fine"
        if exchanged:
            found["swap fine"], found["swap warm"] = found["swap warm"], found["swap fine"]
        return found | {"carrier": carrier(measured) if carrier else measured}

    return answer


def halves_alone(fine, warm, x, a, b):
    found = {
        "swap fine": pearson(fine(x, a), fine(x, b)),
        "swap warm": pearson(warm(x, a), warm(x, b)),
        "swap both": pearson(product(fine(x, a), warm(x, a)), product(fine(x, b), warm(x, b))),
    }
    return found | {"carrier": "warm" if found["swap warm"] < found["swap fine"] else "fine"}


WRONG = {
    "3.1": [
        Wrong("first target for all", "first image's", (cam(of=lambda w, t: w[t[:1]].expand(len(t), -1)),)),
        Wrong(
            "mean over channels",
            "averaged over the channels",
            (cam(made=lambda w, A: (w[:, :, None, None] * A).mean(dim=1)),),
        ),
        Wrong(
            "ReLU before the sum",
            "before the sum",
            (cam(made=lambda w, A: (w[:, :, None, None] * A).relu().sum(dim=1)),),
        ),
        Wrong("ReLU after the sum", "keeps its signs", (cam(end=lambda m, size: enlarge(m.relu(), size)),)),
        Wrong("absolute weights", "absolute values", (cam(of=lambda w, t: w[t].abs()),)),
        Wrong(
            "pooled first",
            "same value",
            (
                cam(
                    made=lambda w, A: (
                        (w * A.mean(dim=(2, 3))).sum(dim=1)[:, None, None].expand(-1, *A.shape[2:])
                    )
                ),
            ),
        ),
        Wrong("weights not used", "not used", (cam(made=lambda w, A: A.mean(dim=1)),)),
        Wrong(
            "corners aligned", "stretched", (cam(end=lambda m, size: enlarge(m, size, align_corners=True)),)
        ),
        Wrong("nearest", "block", (cam(end=lambda m, size: enlarge(m, size, "nearest")),)),
        Wrong("bicubic", "cubic", (cam(end=lambda m, size: enlarge(m, size, "bicubic")),)),
        Wrong(
            "one pixel too many", "shape", (cam(end=lambda m, size: enlarge(m, (size[0] + 1, size[1] + 1))),)
        ),
        Wrong(
            "min-max",
            "smallest value",
            (
                cam(
                    end=lambda m, s: (
                        (enlarge(m, s) - map_min(enlarge(m, s)))
                        / (map_max(enlarge(m, s)) - map_min(enlarge(m, s)))
                    )
                ),
            ),
        ),
        Wrong(
            "divided by the maximum",
            "own maximum",
            (cam(end=lambda m, s: enlarge(m, s) / map_max(enlarge(m, s))),),
        ),
        Wrong("in place", "changed `A`", (cam_in_place,)),
    ],
    "3.2": [
        Wrong(
            "gradient of the softmax",
            "probability",
            (grad_cam(score=lambda y, t: own_logit(y.softmax(dim=1), t)),),
        ),
        Wrong(
            "gradient of the loss",
            "loss",
            (grad_cam(score=lambda y, t: F.cross_entropy(y, t, reduction="sum")),),
        ),
        Wrong("first target for all", "first image's", (grad_cam(score=lambda y, t: y[:, t[0]].sum()),)),
        Wrong("every target for every image", "every target", (grad_cam(score=lambda y, t: y[:, t].sum()),)),
        Wrong("own choice", "largest logit", (grad_cam(score=lambda y, t: y.amax(dim=1).sum()),)),
        Wrong(
            "mean over the batch", "number of images", (grad_cam(score=lambda y, t: y[rows(t), t].mean()),)
        ),
        Wrong(
            "mean over channels",
            "over the channels, not over the places",
            (grad_cam(alpha=lambda G: G.mean(dim=1, keepdim=True)),),
        ),
        Wrong(
            "mean over images",
            "share one α",
            (grad_cam(alpha=lambda G: G.mean(dim=(0, 2, 3), keepdim=True)),),
        ),
        Wrong("sum over places", "h·w times", (grad_cam(alpha=lambda G: G.sum(dim=(2, 3), keepdim=True)),)),
        Wrong("no average", "HiResCAM", (grad_cam(alpha=lambda G: G),)),
        Wrong(
            "weighted maps averaged",
            "averaged over the channels, not added",
            (grad_cam(made=lambda a, A: (a * A).mean(dim=1).relu()),),
        ),
        Wrong("no ReLU", "missing", (grad_cam(made=lambda a, A: (a * A).sum(dim=1)),)),
        Wrong(
            "ReLU before the sum", "before the sum", (grad_cam(made=lambda a, A: (a * A).relu().sum(dim=1)),)
        ),
        Wrong("ReLU on alpha", "weights α", (grad_cam(made=lambda a, A: (a.relu() * A).sum(dim=1).relu()),)),
        Wrong(
            "ReLU on the gradient",
            "before it was averaged",
            (grad_cam(alpha=lambda G: G.relu().mean(dim=(2, 3), keepdim=True)),),
        ),
        Wrong("absolute value", "absolute value", (grad_cam(made=lambda a, A: (a * A).sum(dim=1).abs()),)),
        Wrong(
            "ReLU after enlarging",
            "after the enlargement",
            (grad_cam(made=lambda a, A: (a * A).sum(dim=1), end=lambda m, s: enlarge(m, s).relu()),),
        ),
        Wrong(
            "corners aligned", "stretched", (grad_cam(end=lambda m, s: enlarge(m, s, align_corners=True)),)
        ),
        Wrong(
            "normalised by minimum and maximum",
            "own maximum",
            (
                grad_cam(
                    end=lambda m, s: (
                        (enlarge(m, s) - map_min(enlarge(m, s)))
                        / (map_max(enlarge(m, s)) - map_min(enlarge(m, s)))
                    )
                ),
            ),
        ),
        Wrong("not enlarged", "shape", (grad_cam(end=lambda m, s: m),)),
        Wrong("not detached", "graph", (not_detached,)),
        Wrong("hook left behind", "a hook stays", (grad_cam(tidy=False),)),
        Wrong("gradients left in the parameters", "gradients in the parameters", (fills_parameters,)),
        Wrong("training mode", "`model` in training mode", (in_training_mode,)),
        Wrong("training mode and back", "a buffer of `model`", (there_and_back,)),
        Wrong("frozen", "`model` frozen", (freezes,)),
        Wrong("images watched", "`requires_grad` set on `x`", (watches_the_images,)),
        Wrong("layer cut off", "layers of `model`", (cuts_off,)),
    ],
    "3.3": [
        Wrong(
            "α summed",
            "adds the gradient up",
            third(alphas=lambda h, A, c: gradient(h, A, lambda y: y[:, c].sum()).sum(dim=(2, 3))),
        ),
        Wrong(
            "α of the softmax",
            "softmax",
            third(alphas=lambda h, A, c: gradient(h, A, lambda y: y.softmax(1)[:, c].sum()).mean(dim=(2, 3))),
        ),
        Wrong(
            "α of a mean",
            "how many images",
            third(alphas=lambda h, A, c: gradient(h, A, lambda y: y[:, c].mean()).mean(dim=(2, 3))),
        ),
        Wrong(
            "α of all classes",
            "all the logits",
            third(alphas=lambda h, A, c: gradient(h, A, lambda y: y.sum()).mean(dim=(2, 3))),
        ),
        Wrong("α one row", "shape", third(alphas=lambda h, A, c: alphas(h, A, c)[0])),
        Wrong("gap without the factor", "leaves out the factor", third(gap=largest_gap(factor=lambda A: 1))),
        Wrong("gap, CAM not cut", "leaves CAM", third(gap=largest_gap(by_weights=lambda m: m))),
        Wrong("gap, Grad-CAM not cut", "leaves Grad-CAM", third(gap=largest_gap(by_gradient=lambda m: m))),
        Wrong(
            "gap with h²", "there the two are equal", third(gap=largest_gap(factor=lambda A: A.shape[2] ** 2))
        ),
        Wrong("gap averaged", "averages or adds", third(gap=largest_gap(end=lambda d: d.abs().mean()))),
        Wrong("gap of itself", "gives 0", third(gap=gap_of_itself)),
        Wrong("weights are α", "α themselves", third(recover=recovered(lambda a, h, w: a[0]))),
        Wrong("weights with h²", "by h²", third(recover=recovered(lambda a, h, w: a[0] * h * h))),
        Wrong("weights with w²", "by w²", third(recover=recovered(lambda a, h, w: a[0] * w * w))),
        Wrong(
            "weights summed over images",
            "α up",
            third(recover=recovered(lambda a, h, w: a.sum(dim=0) * h * w)),
        ),
        Wrong("α on the graph", "graph", third(alphas=lambda h, A, c: alphas(h, A, c).requires_grad_(True))),
        Wrong("watches the maps", "`alphas` leaves `requires_grad` set", third(alphas=alphas_of_the_given)),
        Wrong("gap in place", "`largest_gap` changed `A`", third(gap=gap_in_place)),
        Wrong("weights transposed", "transposed", third(recover=lambda head, A: recovered()(head, A).T)),
    ],
    "3.4": [
        Wrong(
            "averaged",
            "this is Grad-CAM",
            fourth(hires(made=lambda G, A: (G.mean(dim=(2, 3), keepdim=True) * A).sum(dim=1))),
        ),
        Wrong("ReLU", "cut what speaks", fourth(hires(made=lambda G, A: (G * A).sum(dim=1).relu()))),
        Wrong(
            "ReLU before the sum",
            "before the sum",
            fourth(hires(made=lambda G, A: (G * A).relu().sum(dim=1))),
        ),
        Wrong("ReLU on the gradient", "LayerCAM", fourth(hires(made=lambda G, A: (G.relu() * A).sum(dim=1)))),
        Wrong("maps not used", "not used", fourth(hires(made=lambda G, A: G.sum(dim=1)))),
        Wrong(
            "mean over channels",
            "channels were averaged",
            fourth(hires(made=lambda G, A: (G * A).mean(dim=1))),
        ),
        Wrong("softmax", "probability", fourth(hires(score=lambda y, t: own_logit(y.softmax(dim=1), t)))),
        Wrong("first target for all", "first image's", fourth(hires(score=lambda y, t: y[:, t[0]].sum()))),
        Wrong("on the graph", "graph", fourth(hires_on_the_graph)),
        Wrong("watches the maps", "`requires_grad` set on `A`", fourth(hires_of_the_given)),
        Wrong("the word False", "`'False'`; True or False", fourth(grad="False")),
        Wrong("neither", "`None`", fourth(grad=None)),
        Wrong("bias forgotten", "forgets the bias", fourth(gap=gap(bias=0))),
        Wrong("mean of the map", "mean of the map", fourth(gap=gap(total=lambda m: m.mean(dim=(1, 2))))),
        Wrong("gap with a sign", "has a sign", fourth(gap=gap(end=lambda d, added: d))),
        Wrong(
            "gap as a share",
            "share of the logit",
            fourth(gap=gap(end=lambda d, added: d.abs() / added.abs())),
        ),
        Wrong("gap of another class", "another class", fourth(gap=gap(pick=lambda t: t[:1].expand(len(t))))),
        Wrong("Grad-CAM complete", "`grad, flatten + linear` is not", fourth(grad=True)),
        Wrong("Grad-CAM not complete under GAP", "`grad, GAP + linear` is complete", fourth(pooled=False)),
        Wrong("complete in spite of biases", "with biases` is not", fourth(biased=True)),
        Wrong("not complete without biases", "no biases` is complete", fourth(plain=False)),
    ],
    "3.5": [
        Wrong("round everything", "everything warm", (box_of_everything, my_iou())),
        Wrong("component of the maximum", "with the maximum", (box(largest=with_the_maximum), my_iou())),
        Wrong("widest box", "largest box", (box(largest=widest), my_iou())),
        Wrong("corners join", "by a corner", (box(structure=np.ones((3, 3))), my_iou())),
        Wrong(
            "inclusive end",
            "left out",
            (box(end=lambda x, y: (x.start, y.start, x.stop - 1, y.stop - 1)), my_iou()),
        ),
        Wrong(
            "one too large",
            "one too large",
            (box(end=lambda x, y: (x.start, y.start, x.stop + 1, y.stop + 1)), my_iou()),
        ),
        Wrong(
            "rows first", "exchanged", (box(end=lambda x, y: (y.start, x.start, y.stop, x.stop)), my_iou())
        ),
        Wrong(
            "width and height",
            "width",
            (box(end=lambda x, y: (x.start, y.start, x.stop - x.start, y.stop - y.start)), my_iou()),
        ),
        Wrong("absolute threshold", "absolute value", (box(warm=lambda m, t: m >= t), my_iou())),
        Wrong(
            "threshold from the minimum",
            "minimum",
            (box(warm=lambda m, t: m >= m.min() + t * (m.max() - m.min())), my_iou()),
        ),
        Wrong("strictly above", "exactly", (box(warm=lambda m, t: m > t * m.max()), my_iou())),
        Wrong(
            "warmest fifth", "warmest fifth", (box(warm=lambda m, t: m >= torch.quantile(m, 1 - t)), my_iou())
        ),
        Wrong("own threshold", "every threshold", (box(warm=lambda m, t: m >= 0.2 * m.max()), my_iou())),
        Wrong("tie, the last", "the last in reading", (box(largest=last_of_the_largest), my_iou())),
        Wrong("tie, the warmest", "the warmest", (box(largest=warmest_of_the_largest), my_iou())),
        Wrong("tie, the leftmost", "leftmost", (box(largest=leftmost_of_the_largest), my_iou())),
        Wrong("tie, the tightest", "several components", (box(largest=tightest_of_the_largest), my_iou())),
        Wrong("cut in place", "changed `heatmap`", (box(warm=cut_in_place), my_iou())),
        Wrong("boxes in place", "changed `pairs`", (box(), iou_in_place)),
        Wrong("box of nothing", "map of zeros", (box(empty=None), my_iou())),
        Wrong("negative overlap", "positive product", (box(), my_iou(clamp=False))),
        Wrong("counted twice", "counted twice", (box(), my_iou(union=lambda a, b, shared: a + b))),
        Wrong("inclusive areas", "inclusive", (box(), my_iou(more=1))),
        Wrong(
            "over the smaller",
            "smaller area",
            (box(), my_iou(union=lambda a, b, shared: torch.minimum(a, b))),
        ),
        Wrong("over the first", "first box", (box(), my_iou(union=lambda a, b, shared: a))),
        Wrong("Dice", "Dice", (box(), my_iou(union=lambda a, b, shared: (a + b) / 2))),
        Wrong("nothing over nothing", "empty box", (box(), iou_of_nothing)),
    ],
    "3.6": [
        Wrong("masks not scaled", "not scaled", (score_cam(mask=enlarge),)),
        Wrong(
            "scaled together",
            "share one minimum",
            (
                score_cam(
                    mask=lambda m, s: (
                        (enlarge(m, s) - enlarge(m, s).min()) / (enlarge(m, s).max() - enlarge(m, s).min())
                    )
                ),
            ),
        ),
        Wrong(
            "divided by the maximum",
            "minimum is not taken off",
            (
                score_cam(
                    mask=lambda m, s: (
                        enlarge(m, s) / torch.where(map_max(enlarge(m, s)) != 0, map_max(enlarge(m, s)), 1)
                    )
                ),
            ),
        ),
        Wrong(
            "scaled, then enlarged",
            "before they are enlarged",
            (score_cam(mask=lambda m, s: enlarge(to_unit(m), s)),),
        ),
        Wrong(
            "masks with corners aligned",
            "masks are enlarged with",
            (score_cam(mask=lambda m, s: to_unit(enlarge(m, s, align_corners=True))),),
        ),
        Wrong(
            "masks of blocks",
            "masks are blocks",
            (score_cam(mask=lambda m, s: to_unit(enlarge(m, s, "nearest"))),),
        ),
        Wrong(
            "zero over zero",
            "NaN",
            (score_cam(mask=lambda m, s: divides_by_zero(enlarge(m, s)), weigh=lambda w, varies: w),),
        ),
        Wrong("constant map counts", "no mask", (score_cam(weigh=lambda w, varies: w),)),
        Wrong("logits as weights", "are logits", (score_cam(score=lambda y, c: y[:, c]),)),
        Wrong("softmax over maps", "over the feature maps", (over_channels,)),
        Wrong(
            "whatever wins", "whatever class", (score_cam(score=lambda y, c: y.softmax(dim=1).amax(dim=1)),)
        ),
        Wrong(
            "masks added up",
            "masks are added",
            (score_cam(made=lambda w, maps, masks, s: (w[:, None, None] * masks).sum(dim=0)),),
        ),
        Wrong(
            "no ReLU",
            "missing",
            (
                score_cam(
                    made=lambda w, maps, masks, s: enlarge((w[:, None, None] * maps).sum(dim=0)[None], s)[0]
                ),
            ),
        ),
        Wrong(
            "ReLU after enlarging",
            "after the enlargement",
            (
                score_cam(
                    made=lambda w, maps, masks, s: enlarge((w[:, None, None] * maps).sum(dim=0)[None], s)[
                        0
                    ].relu()
                ),
            ),
        ),
        Wrong(
            "ReLU before the sum",
            "before the sum",
            (
                score_cam(
                    made=lambda w, maps, masks, s: enlarge(
                        (w[:, None, None] * maps).relu().sum(dim=0)[None], s
                    )[0]
                ),
            ),
        ),
        Wrong("all at once", "at once", (score_cam(chunks=lambda K, b: [slice(0, K)]),)),
        Wrong(
            "last chunks lost",
            "masked images; there are",
            (score_cam(chunks=lambda K, b: [slice(k, k + b) for k in range(0, K - 2 * b, b)]),),
        ),
        Wrong("all masks beforehand", "masks are alive at once", (score_cam(),)),
        Wrong("image masked in place", "changed `x`", (masks_in_place,)),
        Wrong("autograd watches", "Autograd watches", (with_autograd,)),
        Wrong("long", "lines", (long_winded,)),
    ],
    "3.7": [
        Wrong("no label", "without a target", (study(ask=lambda explain, x, y: explain(x)),)),
        Wrong("one label for all", "another class", (study(ask=lambda explain, x, y: explain(x, y[:1])),)),
        Wrong(
            "one image", "images", (lambda explain, x, y, boxes: study()(explain, x[:5], y[:5], boxes[:5]),)
        ),
        Wrong("centre of mass", "centre of mass, not", (study(point=centre_of_mass),)),
        Wrong("the last maximum", "at the last", (study(point=last_brightest),)),
        Wrong("ends are inside", "x1 and y1", (study(inside=inclusive),)),
        Wrong("x1 is inside", "x1 counts as inside", (study(inside=moved("x1")),)),
        Wrong("y1 is inside", "y1 counts as inside", (study(inside=moved("y1")),)),
        Wrong("starts are outside", "x0 and y0 count as outside", (study(inside=moved("x0", "y0")),)),
        Wrong("x0 is outside", "x0 counts as outside", (study(inside=moved("x0")),)),
        Wrong("y0 is outside", "y0 counts as outside", (study(inside=moved("y0")),)),
        Wrong("rows and columns exchanged", "exchanged", (study(point=lambda m: brightest(m)[::-1]),)),
        Wrong("index by height", "by the height", (study(point=by_height),)),
        Wrong("largest absolute value", "absolute value", (study(point=lambda m: brightest(m.abs())),)),
        Wrong("zeros point", "map of zeros", (study(some=lambda m: torch.ones(len(m), dtype=bool)),)),
        Wrong("number of hits", "number of hits", (study(share=lambda hits: hits.double().sum()),)),
        Wrong("centre, ends are inside", "`centre` is wrong: x1", (study(middle_inside=inclusive),)),
        Wrong("centre, x1 is inside", "`centre` is wrong: x1 c", (study(middle_inside=moved("x1")),)),
        Wrong("centre, y1 is inside", "`centre` is wrong: y1 c", (study(middle_inside=moved("y1")),)),
        Wrong("centre, x0 is outside", "`centre` is wrong: x0 c", (study(middle_inside=moved("x0")),)),
        Wrong("centre exchanged", "`centre` is wrong: rows", (study(middle=lambda H, W: (H // 2, W // 2)),)),
        Wrong("area in pixels", "pixels", (study(area=lambda boxes, H, W: usual_area(boxes, 1, 1)),)),
        Wrong(
            "area, one added",
            "one is added",
            (study(area=lambda b, H, W: (b[:, 2:] - b[:, :2] + 1).prod(dim=1) / (H * W)),),
        ),
        Wrong(
            "area, x1 is inside",
            "added to the width",
            (study(area=lambda b, H, W: usual_area(b + torch.tensor([0, 0, 1, 0]), H, W)),),
        ),
        Wrong("difference turned round", "`difference` is", (study(sign=-1),)),
        Wrong(
            "error as if unpaired",
            "different images",
            (study(error=lambda a, b: ((a.var() + b.var()) / len(a)).sqrt()),),
        ),
        Wrong("error of one image", "one image's", (study(error=lambda a, b: (a - b).std()),)),
        Wrong(
            "error of the method alone", "method alone", (study(error=lambda a, b: a.std() / len(a) ** 0.5),)
        ),
        Wrong("error is a variance", "variance", (study(error=lambda a, b: (a - b).var() / len(a)),)),
        Wrong("boxes turned into sizes", "changed `boxes`", (sizes_in_place,)),
        Wrong("keys missing", "dict with the keys", (lambda *given: {"pointing": 1.0},)),
    ],
    "3.8": [
        Wrong("images meet channels", "another *image*", (lambda fine, warm: fine * warm, swaps())),
        Wrong("sum", "adds", (lambda fine, warm: fine + warm[:, None], swaps())),
        Wrong("absolute product", "loses the signs", (lambda fine, warm: product(fine, warm).abs(), swaps())),
        Wrong("positive pattern", "negative half", (lambda fine, warm: product(fine.relu(), warm), swaps())),
        Wrong(
            "normalised heatmap",
            "by its maximum",
            (lambda fine, warm: product(fine, warm / map_max(warm)), swaps()),
        ),
        Wrong("in place", "`combine` changed `fine`", (lambda fine, warm: fine.mul_(warm[:, None]), swaps())),
        Wrong("names exchanged", "each other's name", (product, swaps(exchanged=True))),
        Wrong("distance", "one minus", (product, swaps(measure=lambda p, q: 1 - pearson(p, q)))),
        Wrong(
            "cosine",
            "cosine",
            (
                product,
                swaps(measure=lambda p, q: F.cosine_similarity(p.flatten(1), q.flatten(1)).mean()),
            ),
        ),
        Wrong("absolute maps", "lost their signs", (product, swaps(of=torch.abs))),
        Wrong(
            "one correlation",
            "one correlation",
            (product, swaps(measure=lambda p, q: pearson(p[None], q[None]))),
        ),
        Wrong("halves alone", "not the products", (product, halves_alone)),
        Wrong("the lesson says so", "`carrier` is", (product, swaps(carrier=lambda measured: "warm"))),
        Wrong("another name", "is wanted", (product, swaps(carrier=lambda measured: "heatmap"))),
    ],
}


# ---- right, in another way: a check must not ask for our own code ----
def cam_of_einsum(A, weight, target, size):
    return enlarge(torch.einsum("nk,nkhw->nhw", weight[target], A), size)


def cam_of_convolution(A, weight, target, size):
    maps = F.conv2d(A, weight[:, :, None, None])[rows(target), target]
    return enlarge(maps, size)


def one_image_at_a_time(model, layer, x, target):
    pairs = zip(x, target, strict=True)
    return torch.cat([grad_cam()(model, layer, image[None], c[None]) for image, c in pairs])


def with_two_hooks(model, layer, x, target):
    kept = {}

    def forward(module, given, out):
        kept["A"] = out.detach()
        out.register_hook(lambda g: kept.__setitem__("G", g))

    handle = layer.register_forward_hook(forward)
    try:
        y = model(x.clone().requires_grad_(True))
        watched = next(model.parameters())
        torch.autograd.grad(own_logit(y, target), watched)
    finally:
        handle.remove()
    return enlarge((kept["G"].mean(dim=(2, 3), keepdim=True) * kept["A"]).sum(dim=1).relu(), x.shape[2:])


def safe_of_in_place_layers(model, layer, x, target):
    """Hands a copy on, so that an in-place ReLU behind the layer cannot write into what was kept."""
    kept = []

    def hook(module, given, out):
        kept.append(out)
        return out.clone()

    handle = layer.register_forward_hook(hook)
    y = model(x)
    handle.remove()
    (G,) = torch.autograd.grad(own_logit(y, target), kept[0])
    maps = torch.einsum("nk,nkhw->nhw", G.mean(dim=(2, 3)), kept[0].detach())
    return enlarge(F.relu(maps, inplace=True), x.shape[2:]).float()


def by_backward(model, layer, x, target):
    kept = []
    handle = layer.register_forward_hook(lambda module, given, out: kept.append(out))
    try:
        y = model(x)
    finally:
        handle.remove()
    kept[0].retain_grad()
    own_logit(y, target).backward(inputs=[kept[0]])
    G, A = kept[0].grad, kept[0].detach()
    return enlarge((G.mean(dim=(2, 3), keepdim=True) * A).sum(dim=1).relu(), x.shape[2:])


def alphas_of_torch_func(head, A, c):
    return torch.func.grad(lambda maps: head(maps)[:, c].sum())(A).mean(dim=(2, 3)).float()


def recovered_by_asking(head, A):
    """A linear head's weights without any gradient: one channel lit at a time."""
    K = A.shape[1]
    lit = torch.eye(K, dtype=A.dtype)[:, :, None, None].expand(K, K, *A.shape[2:])
    return (head(lit) - head(torch.zeros_like(lit))).T


def box_by_hand(heatmap, threshold):
    """Connected components by flooding, without scipy."""
    warm = heatmap >= threshold * heatmap.max() if heatmap.max() > 0 else torch.zeros_like(heatmap) > 0
    left, best = {tuple(p) for p in warm.nonzero().tolist()}, set()
    while left:
        part, edge = set(), {min(left)}
        while edge:
            part |= edge
            near = {(i + a, j + b) for i, j in edge for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))}
            edge = (near & left) - part
        left -= part
        best = part if len(part) > len(best) else best
    if not best:
        return [0, 0, 0, 0]
    y, x = zip(*best, strict=True)
    return torch.tensor([min(x), min(y), max(x) + 1, max(y) + 1])


def iou_of_pixels(a, b):
    pixels = [
        {(x, y) for x in range(c[0], c[2]) for y in range(c[1], c[3])} for c in (a.tolist(), b.tolist())
    ]
    union = pixels[0] | pixels[1]
    return len(pixels[0] & pixels[1]) / len(union) if union else 0


@torch.no_grad()
def only_what_varies(model, A, x, target, batch_size):
    live = A[0][A[0].flatten(1).std(dim=1) > 1e-12]
    heat = 0
    for maps in live.split(batch_size):
        p = model(x * to_unit(enlarge(maps, x.shape[2:]))[:, None]).softmax(dim=1)[:, target]
        heat = heat + torch.einsum("k,khw->hw", p, maps)
    return enlarge(heat.relu()[None], x.shape[2:])[0]


def study_in_a_loop(explain, images, labels, boxes):
    hits, centre, area = [], [], []
    H, W = images.shape[2:]
    for image, label, (x0, y0, x1, y1) in zip(images, labels, boxes.tolist(), strict=True):
        heat = explain(image[None], label[None])[0].numpy()
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        hits.append(float(heat.max() > 0 and x0 <= x < x1 and y0 <= y < y1))
        centre.append(float(x0 <= W // 2 < x1 and y0 <= H // 2 < y1))
        area.append((x1 - x0) * (y1 - y0) / H / W)
    d = np.array(hits) - np.array(centre)
    return {
        "pointing": np.mean(hits),
        "centre": np.mean(centre),
        "area": np.mean(area),
        "difference": d.mean(),
        "error": d.std() / np.sqrt(len(d)),
    }


def swaps_of_numpy(fine, warm, x, a, b):
    def corr(p, q):
        pairs = zip(p.flatten(1).numpy(), q.flatten(1).numpy(), strict=True)
        return float(np.mean([np.corrcoef(m, n)[0, 1] for m, n in pairs]))

    still = product(fine(x, a), warm(x, a))
    left = [corr(still, product(fine(x, p), warm(x, q))) for p, q in ((b, a), (a, b), (b, b))]
    names = ("swap fine", "swap warm", "swap both")
    return dict(zip(names, left, strict=True), carrier=("fine", "warm")[int(np.argmin(left[:2]))])


ALSO_RIGHT = {
    "3.1": [(cam_of_einsum,), (cam_of_convolution,)],
    "3.2": [(one_image_at_a_time,), (with_two_hooks,), (safe_of_in_place_layers,), (by_backward,)],
    "3.3": [
        third(recover=recovered_by_asking),
        third(alphas=alphas_of_torch_func),
        third(
            gap=lambda *given: float(largest_gap()(*given)),
            recover=recovered(lambda a, h, w: a.mean(0) * h * w),
        ),
    ],
    "3.4": [fourth(hires(made=lambda G, A: torch.einsum("nkhw,nkhw->nhw", G, A)))],
    "3.5": [(box_by_hand, iou_of_pixels), (box(), lambda a, b: float(my_iou()(a, b)))],
    "3.6": [(only_what_varies,)],
    "3.7": [(study_in_a_loop,), (study(ask=one_by_one),)],
    "3.8": [(lambda fine, warm: torch.einsum("nchw,nhw->nchw", fine, warm), swaps_of_numpy)],
}
