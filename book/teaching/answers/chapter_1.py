"""What does A read of the tag? Each change of the tag, pasted on the same 280 shapes that are no stars."""

import torch

from xai_lib import SHAPE_CLASSES, load_model, shapes

STAR = SHAPE_CLASSES.index("star")
SEEDS = (77, 5, 123)


def left_half(tag, ground):
    half = tag.shape[2] // 2
    return torch.cat([tag[..., :half], ground[..., half:]], 2)


def shuffled(tag, ground):
    return tag.flatten(1)[:, torch.randperm(tag[0].numel())].view_as(tag)


CHANGES = {  # a tag and the ground under it, both (3, 10, 30) → what is pasted instead
    "the tag as it is": lambda tag, ground: tag,
    "mirrored": lambda tag, ground: tag.flip(2),
    "its left half": left_half,
    "light and dark exchanged": lambda tag, ground: 1 - tag,
    "its pixels shuffled": shuffled,
    "a black rectangle": lambda tag, ground: torch.zeros_like(tag),
    "a rectangle of its mean colour": lambda tag, ground: tag.mean((1, 2), True).expand_as(tag),
    "random grey levels": lambda tag, ground: torch.rand(tag.shape[1:]).expand_as(tag),
}


def pasted(seed, change):
    """The shapes that are no stars, without the tag and with the changed one."""
    torch.manual_seed(0)
    bare = shapes(320, seed=seed)
    full = shapes(320, seed=seed, watermark=dict.fromkeys(SHAPE_CLASSES, 1.0))
    others = bare.labels != STAR
    before = bare.images[others]
    after = before.clone()
    for image, twin, mask in zip(after, full.images[others], full.tag_masks[others], strict=True):
        rows, columns = (mask.any(axis).nonzero() for axis in (1, 0))
        box = (slice(None), slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        image[box] = change(twin[box], image[box])
    return before, after


@torch.no_grad()
def named_star(model, images):
    answers = torch.cat([model(part).argmax(1) for part in images.split(100)])
    return (answers == STAR).float().mean().item()


def won(model, seed, change):
    """By how many points the share that is named star rises."""
    before, after = pasted(seed, change)
    return 100 * (named_star(model, after) - named_star(model, before))


def main():
    print("| pasted in the tag's corner | A, three sets | B, one set |")
    print("|---|---|---|")
    a, b = load_model("clever_hans"), load_model("small_vgg")
    for name, change in CHANGES.items():
        of_a = ", ".join(f"{won(a, seed, change):.0f}" for seed in SEEDS)
        print(f"| {name} | {of_a} | {won(b, SEEDS[0], change):.0f} |")


if __name__ == "__main__":
    main()
