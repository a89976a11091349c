"""What the README and the pages around the chapters promise."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from xai_lib import PHOTOS

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def code(page: str, first_line: str) -> str:
    """The one block of Python on a page that begins with this line."""
    blocks = re.findall(
        r"```(?:python|\{code-block\} python\n:name: [\w-]+\n)\n(.*?)```", read(page), re.DOTALL
    )
    return next(block for block in blocks if block.strip().startswith(first_line))


def test_the_first_heatmap_names_a_cat_and_draws_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code("book/start_here.md", "from xai_lib import load_model"), names)
    assert capsys.readouterr().out.strip() in {
        f"The model says: {cat}" for cat in ("tabby", "tiger cat", "Egyptian cat")
    }
    assert names["heatmap"].shape == (224, 224) and names["heatmap"].max() > 0
    assert (tmp_path / "first_heatmap.png").stat().st_size > 10_000
    assert names["model"].labels[504] == "coffee mug"  # the page asks the reader to try this class


def test_the_home_page_s_program_draws_the_picture_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict = {}
    exec(code("book/index.md", "from xai_lib import load_model"), names)
    assert (tmp_path / "heatmap.png").stat().st_size > 10_000
    drawn = names["pair"].axes[1].images[0]
    shown = Image.open(ROOT / "book/_static/pictures/cat-smooth.webp").convert("RGB")
    colours = drawn.cmap(drawn.norm(drawn.get_array()))[..., :3] * 255
    # the noise differs, the scale does not: without `clip` the drawing has a third of this brightness
    assert np.asarray(shown).mean() == pytest.approx(colours.mean(), rel=0.1)


def test_home_and_start_here_draw_the_heatmap_on_one_scale():
    pictures = ROOT / "book/_static/pictures"
    home = np.asarray(Image.open(pictures / "cat-smooth.webp").convert("RGB"))
    panels = np.asarray(Image.open(pictures / "first-heatmap.webp").convert("RGB"))
    middle = panels[40:300, 300:560]  # well inside the second panel of three
    assert home[10:-10, 10:-10].mean() == pytest.approx(middle.mean(), rel=0.1)


@pytest.mark.parametrize("page", ["README.md", "book/start_here.md"])
def test_the_five_lines_work_on_a_model_of_your_own(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    mine = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    names = {"my_classifier": mine, "mean": [0.5] * 3, "std": [0.2] * 3, "x": torch.rand(2, 3, 32, 32)}
    exec(code(page, "from torch import nn"), names)
    assert names["heatmap"].shape == (2, 32, 32)


def test_the_readme_names_every_make_target_and_no_other():
    targets = set(re.findall(r"^([a-z]+):.*##", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)[` ]", read("README.md")))
    assert named - {"help"} == targets - {"help"}


def places(text: str, title: str) -> set[str]:
    """What the first column (and words in code) of the table below a title names."""
    rows = re.split(rf"^## {title}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
    return set(re.findall(r"`([\w./-]+)`", rows))


def kept(folder: Path = ROOT) -> list[str]:
    """What stands in a folder and belongs to the repository; folders end in a slash."""
    ignored = [line.strip("/") for line in read(".gitignore").splitlines() if line and line[0] != "#"]
    names = [path.name + "/" * path.is_dir() for path in folder.iterdir() if path.name != ".git"]
    return [name for name in names if not any(fnmatch(name.rstrip("/"), pattern) for pattern in ignored)]


def test_the_readme_says_what_every_folder_and_file_at_the_top_is():
    named = places(read("README.md"), "What is where")
    missing = {name for name in kept() if not any(n.startswith(name) for n in named)}
    assert missing - {".gitignore", "README.md"} == set()
    gone = [name for name in named if not (ROOT / name).exists() and not list(ROOT.glob(f"*/{name}"))]
    assert gone == []


def test_who_contributes_is_told_of_every_folder_of_sources():
    named = places(read("CONTRIBUTING.md"), "Where things are")
    folders = {name for name in kept() if name.endswith("/") and name[0] != "."}
    assert folders - {"chapters/"} <= named and "chapters/NN_name/" in named
    assert {name.rstrip("/") for name in kept(ROOT / "tests") if name.endswith("/")} <= named
    rooms = {name for name in kept(ROOT / "xai_course") if name.endswith("/")}
    assert rooms <= named


def test_the_readme_names_the_pinned_pair_of_torch_and_torchvision():
    pins = read("constraints.txt")
    for package in ("torch", "torchvision"):
        pin = re.search(rf"^{package}==[\d.]+", pins, re.MULTILINE).group()
        assert pin in read("README.md")


def test_the_readme_says_which_chapters_are_here():
    chapters = yaml.safe_load(read("book/data/methods.yml"))["chapters"]
    for chapter in chapters:
        folder = chapter["page"].rsplit("/", 1)[0]
        row = next(line for line in read("README.md").splitlines() if f"`{folder}`" in line)
        assert row.endswith("| here |" if chapter["written"] else "in preparation |")


def test_the_home_page_says_which_chapters_are_here():
    written = [c["number"] for c in yaml.safe_load(read("book/data/methods.yml"))["chapters"] if c["written"]]
    last = len(written)
    assert written == list(range(1, last + 1))
    rest = f"chapters {last + 1} to 9 are" if last < 8 else "chapter 9 is"
    sentence = (
        f"Chapters 1 to {last} are here; {rest} in preparation" if last < 9 else "All nine chapters are here"
    )
    assert sentence in read("book/index.md")


@pytest.mark.parametrize("name", PHOTOS)
def test_each_photograph_is_credited(name):
    title, licence, source = PHOTOS[name]
    row = next(line for line in read("LICENSE-CONTENT.md").splitlines() if line.startswith(f"| `{name}`"))
    assert title in row and licence in row and source.split(";")[0].split(", ")[-1] in row


def test_the_citation_is_complete_and_of_this_version():
    citation = yaml.safe_load(read("CITATION.cff"))
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == project["version"] and citation["license"] == project["license"]


def test_a_glossary_term_is_defined_once():
    letters = re.findall(r">(\w)</div>\n```\n\n```\{glossary\}\n(.*?)```", read("book/glossary.md"), re.S)
    terms = {letter: re.findall(r"^(\S.*)$", body, re.MULTILINE) for letter, body in letters}
    everything = [term.lower() for part in terms.values() for term in part]
    assert len(everything) > 80 and len(set(everything)) == len(everything)
    for letter, part in terms.items():
        assert part and all(term[0].upper() == letter for term in part)
        assert part == sorted(part, key=lambda term: re.sub(r"\W+", " ", term.lower()))


def test_the_letters_of_the_glossary_lead_to_the_letters_that_it_has():
    page = read("book/glossary.md")
    linked = re.findall(r'<a href="#(\w)">(\w)</a>', page)
    headings = re.findall(r'<div class="s-letter" id="(\w)" role="heading" aria-level="2">(\w)</div>', page)
    assert linked == headings
    assert all(anchor == letter.lower() for anchor, letter in linked)
