"""What can be wrong with a page in front of a reader, found in one load of it.

A page is opened once and turned in place: the window takes the size of a desktop and of a phone, the system
asks for light and for dark. What depends on the turn (colours, widths, pictures, what is asked of the
network) is looked at in each of the four; test_faults.py plants one fault of each kind and sees it found.
"""

from __future__ import annotations

from playwright.sync_api import Error, Page

SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
VIEWS = [("desktop", "light"), ("desktop", "dark"), ("phone", "dark"), ("phone", "light")]

# Equations that MathJax did not draw, drew as an error, or that no one marked as equations.
NOT_TYPESET = r"""() => {
  const drawn = math => math.querySelector("mjx-container");
  const bad = [...document.querySelectorAll("article .math:not(svg *)")].filter(math => !drawn(math));
  const errors = [...document.querySelectorAll("mjx-merror, [data-mjx-error]")];
  const article = document.querySelector("article") || document.body;
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  const raw = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest("code, pre, script, style, noscript, mjx-container, textarea")) continue;
    if (/\\[(\[]|\$\$|\\(frac|sum|partial|text)\b/.test(node.data)) raw.push(node.data);
  }
  return [...bad, ...errors].map(element => element.outerHTML).concat(raw).map(text => text.slice(0, 120));
}"""

# Pictures that wait to be scrolled to are loaded too.
LOAD_IMAGES = """() => Promise.all([...document.images].map(image => {
  image.loading = "eager";
  return image.complete || new Promise(done => { image.onload = image.onerror = done; });
})).then(() => 0)"""

BROKEN_IMAGES = """() => [...document.images].filter(image => {
  const shown = image.getClientRects().length > 0;
  return !image.alt.trim() || (shown && image.complete && image.naturalWidth === 0);
}).map(image => image.src.slice(0, 100) + " alt=" + image.alt)"""

# A page may not scroll sideways, nor may anything of the article stick out where nothing scrolls it.
TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth, wide = [];
  const page = document.documentElement.scrollWidth;
  if (page > width) wide.push("page: " + page);
  const scrolls = e => {
    for (; e && e.tagName !== "ARTICLE"; e = e.parentElement)
      if (getComputedStyle(e).overflowX !== "visible") return true;
    return false;
  };
  document.querySelectorAll("article *").forEach(e => {
    const box = e.getBoundingClientRect();
    const hidden = e.closest(".visually-hidden, mjx-assistive-mml");
    if (box.width && box.right > width + 1 && !hidden && !scrolls(e))
      wide.push(e.tagName + "." + e.className + ": " + Math.round(box.right));
  });
  return wide.slice(0, 5);
}"""

# What a reader opens is judged too, and nothing is judged while it fades.
OPEN_EVERYTHING = """() => {
  const still = document.createElement("style");
  still.textContent = "*, ::before, ::after { animation: none !important; transition: none !important; }";
  document.head.append(still);
  document.querySelectorAll("article details").forEach(details => details.open = true);
  document.querySelectorAll(".s-veil-buttons button:last-child").forEach(showAnyway => showAnyway.click());
}"""

# A page of code has thousands of coloured words, which take axe five seconds, but a dozen colours. Words with
# the same classes in equal surroundings look alike in every theme: the first of them stays a word of its own,
# the others become plain text of their line, as wide as before. (Of single characters axe judges none.)
ONE_WORD_OF_EACH_COLOUR = """() => {
  const seen = new Set(), paths = new WeakMap();
  const path = e => {
    if (!e || e.tagName === "ARTICLE") return "";
    if (!paths.has(e)) paths.set(e, path(e.parentElement) + ">" + e.tagName + "." + e.className);
    return paths.get(e);
  };
  for (const word of document.querySelectorAll(".highlight pre span[class]")) {
    if (word.attributes.length > 1 || word.childElementCount) continue;
    const key = path(word);
    if (seen.has(key) || word.textContent.trim().length < 2) word.replaceWith(...word.childNodes);
    else seen.add(key);
  }
  document.querySelectorAll(".highlight pre").forEach(pre => pre.normalize());
}"""

AXE = """() => axe.run({resultTypes: ["violations"], preload: false}).then(results => results.violations
  .filter(violation => ["serious", "critical"].includes(violation.impact))
  .flatMap(violation => violation.nodes.map(
    node => violation.id + ": " + node.target + " " + node.failureSummary.slice(0, 300))))"""

# In four views axe would judge most things four times over. What it says of a colour depends on how a word
# looks: on its own style and on those of all that it stands in; what it says of everything else, on which
# elements there are, with which attributes, and where. Each look is judged once, each arrangement once, and
# what was said of it is said again in every view that has it. A word over which or under which something else
# lies looks like no other, and like itself only while both lie as they did. When axe cannot tell for one word
# of a look, all words of that look are judged.
JUDGE = """() => {
  const COLOURS = ["color-contrast", "link-in-text-block"], looks = new Map(), arrangements = new Map();
  const doubtful = new WeakSet();  // words of which axe could not tell, and their like: judged one by one
  const chosen = ["[data-judge]", "a[href][data-judge]:not([role]), [role=link][data-judge]"];
  axe.configure({rules: COLOURS.map((id, n) => ({id, selector: chosen[n]}))});
  const run = options => axe.run({preload: false, elementRef: true, ...options});
  const serious = results => results.violations.filter(v => ["serious", "critical"].includes(v.impact));
  const told = (id, node) =>
    `${id}: ${node.target} ${node.failureSummary.slice(0, 300)}`.replaceAll('[data-judge=""]', "");
  const clear = colour => colour === "transparent" || colour.endsWith(", 0)");

  const wordsByLook = () => {
    const styles = new Map(), found = new Map(), painted = [], boxes = new Map();
    const style = e => styles.get(e) || styles.set(e, getComputedStyle(e)).get(e);
    const box = e => boxes.get(e) || boxes.set(e, e.getBoundingClientRect()).get(e);
    const grounds = new Map([[null, ""]]);
    const ground = e => {  // all that it stands in
      if (!grounds.has(e)) {
        const s = style(e);
        grounds.set(e, [ground(e.parentElement), e.tagName, e.getAttribute("class"), s.backgroundColor,
          s.backgroundImage, s.opacity, s.filter, s.mixBlendMode, s.visibility].join("|"));
      }
      return grounds.get(e);
    };
    const elements = [...document.body.querySelectorAll("*")];
    for (const e of elements)
      if (!clear(style(e).backgroundColor) || style(e).backgroundImage !== "none" ||
          e.matches("img, canvas, video, svg")) painted.push(e);
    const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    elements.forEach((e, number) => {
      const says = [...e.childNodes].some(node => node.nodeType === 3 && node.data.trim().length > 1);
      if (!(says || e.matches("a[href], input, select, textarea")) || !e.getClientRects().length) return;
      const over = painted.filter(p => overlap(box(p), box(e)) && !p.contains(e) && !e.contains(p));
      const s = style(e), by = over.map(p => [box(p).x - box(e).x, box(p).y - box(e).y, box(p).width,
        box(p).height].map(Math.round) + style(p).backgroundColor);
      const look = [ground(e), s.color, s.fontSize, s.fontWeight, s.textShadow,
        e.matches(":disabled, :disabled *"), over.length && number + "@" + by].join("|");
      found.set(look, [...(found.get(look) || []), e]);
    });
    return found;
  };
  const colours = async elements => {
    elements.forEach(e => e.setAttribute("data-judge", ""));
    const results = await run({runOnly: COLOURS, resultTypes: ["violations", "incomplete"]});
    elements.forEach(e => e.removeAttribute("data-judge"));
    const said = new Map(), unsure = new Set();
    for (const {nodes} of results.incomplete) nodes.forEach(node => unsure.add(node.element));
    for (const {id, nodes} of serious(results))
      for (const node of nodes) said.set(node.element, [...(said.get(node.element) || []), told(id, node)]);
    return [said, unsure];
  };
  const judgeColours = async () => {
    const words = wordsByLook(), unknown = [...words.keys()].filter(look => !looks.has(look));
    if (unknown.length) {
      const several = look => words.get(look).some(word => doubtful.has(word));
      const first = unknown.flatMap(look => words.get(look).slice(0, several(look) ? undefined : 1));
      const [said, unsure] = await colours(first);
      const open = unknown.filter(look => unsure.has(words.get(look)[0]) && !several(look));
      const others = open.flatMap(look => words.get(look).slice(1));
      if (others.length) for (const [word, faults] of (await colours(others))[0]) said.set(word, faults);
      for (const look of open) words.get(look).forEach(word => doubtful.add(word));
      for (const look of unknown) looks.set(look, words.get(look).flatMap(word => said.get(word) || []));
    }
    return [...words.keys()].flatMap(look => looks.get(look));
  };

  const judgeTheRest = async () => {
    const place = ({x, y, width, height}) => [x + scrollX, y + scrollY, width, height].map(Math.round).join();
    const attributes = e => [...e.attributes].map(a => a.name + a.value).join();
    const own = e => e === document.documentElement ? "" : attributes(e);  // which says what theme it is
    const where = e => e.getClientRects().length ? place(e.getBoundingClientRect()) : "";
    const elements = [...document.querySelectorAll("*")];
    const arrangement = elements.map(e => [e.tagName, own(e), where(e)].join()).join("|");
    if (!arrangements.has(arrangement)) {
      const rules = Object.fromEntries(COLOURS.map(id => [id, {enabled: false}]));
      const results = await run({rules, resultTypes: ["violations"]});
      arrangements.set(arrangement, serious(results).flatMap(({id, nodes}) => nodes.map(n => told(id, n))));
    }
    return arrangements.get(arrangement);
  };
  window.judge = async () => [...await judgeColours(), ...await judgeTheRest()];
}"""


def turn(tab: Page, size: str, theme: str) -> list[str]:
    """Show the page at another size and in another theme; what is wrong with how it follows."""
    tab.set_viewport_size(SIZES[size])
    tab.devtools.send("Emulation.setTouchEmulationEnabled", {"enabled": size == "phone", "maxTouchPoints": 1})
    tab.emulate_media(color_scheme=theme)
    # Two frames later the page has heard of it; half a second on, so has what waits until a window rests.
    tab.evaluate("new Promise(done => realFrame(() => realFrame(() => done(0))))")
    try:
        tab.clock.run_for(500)
    except Error as raised:  # by the page, in what had waited
        return [f"error: {raised.message}"]
    shown = tab.evaluate("document.documentElement.dataset.theme")
    return [] if shown == theme else [f"theme: the system is {theme}, the page {shown}"]


def seen(tab: Page) -> list[str]:
    """What is wrong with the page as it is shown now."""
    tab.evaluate(LOAD_IMAGES)
    checks = {"not typeset": NOT_TYPESET, "picture": BROKEN_IMAGES, "too wide": TOO_WIDE}
    return [f"{kind}: {fault}" for kind, script in checks.items() for fault in tab.evaluate(script)]


def heard(tab: Page) -> list[str]:
    """What the page asked of other hosts, and what it wrote to the console as errors, since it was opened."""
    return [f"left: {address}" for address in tab.left] + [f"error: {text}" for text in tab.errors]


def violations(tab: Page) -> list[str]:
    """What axe-core calls serious or critical now. Nothing is excused: there is no allow-list."""
    from axe_playwright_python.sync_playwright import Axe

    if not tab.evaluate("Boolean(window.axe)"):
        tab.evaluate(OPEN_EVERYTHING)
        tab.evaluate(ONE_WORD_OF_EACH_COLOUR)
        tab.evaluate(Axe().axe_script)
        tab.evaluate(JUDGE)
    return [f"axe: {violation}" for violation in tab.evaluate("judge()")]


def faults(tab: Page, *, accessible: bool = True) -> list[str]:
    """Everything wrong with an open page: wide and narrow, light and dark; ``accessible`` asks axe as well.

    As the reader finds it first; then, for axe, with everything opened that can be opened.
    """
    tab.evaluate("window.realFrame = requestAnimationFrame.bind(window), 0")
    tab.clock.install()  # so that `turn` need not wait for the page's timers
    found = []
    for size, theme in VIEWS:
        found += [f"{size} {theme}: {fault}" for fault in turn(tab, size, theme) + seen(tab)]
    for size, theme in reversed(VIEWS) if accessible else ():
        wrong = turn(tab, size, theme) + violations(tab) + seen(tab)
        found += [f"{size} {theme}: {fault}" for fault in wrong]
    return list(dict.fromkeys(found)) + heard(tab)
