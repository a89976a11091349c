// Presenter mode: P begins and ends it. The page shows one thing at a time, large, below the headings of its section:
// the opener, a display equation, a figure or explorer, a quiz, or a section that holds none of these. They stay alive.
// The arrows step, T brings the text back, Escape leaves.
(() => {
  "use strict";
  const {$, $$, make, say} = window.sinb;
  const root = document.documentElement, article = $(".bd-article");
  const THINGS = ".s-opener, .s-fig, .s-quizzes, .math, .admonition.tip, .admonition.important";
  const seen = element => element.getClientRects().length > 0;
  let slides = [], at = 0, hud;

  // In the order of the page. What lies in a closed dropdown is not seen, and so no slide.
  const collect = () => $$(`:is(${THINGS}, section)`, article).filter(thing => {
    if (!seen(thing) || thing.matches("span") || thing.parentElement.closest(THINGS)) return false;
    return !thing.matches("section") || !$$(THINGS, thing).some(inner => seen(inner) && !inner.matches("span"));
  });
  const clear = () => $$(".s-now, .s-way").forEach(element => element.classList.remove("s-now", "s-way"));
  const put = thing => {
    clear();
    thing.classList.add("s-now");
    const words = thing.nextElementSibling;  // an equation is shown with its reading
    if (thing.matches(".math") && words && words.textContent.trim().startsWith("In words")) words.classList.add("s-now");
    for (let way = thing.parentElement; way !== article.parentElement; way = way.parentElement) way.classList.add("s-way");
  };
  const loosen = thing => { thing.style.maxWidth = ""; thing.classList.remove("s-beside"); };
  // A figure that is higher than the screen has its caption and controls beside it, and gets narrower if it must; its
  // letters keep their size. What is still too high scrolls.
  const fit = thing => {
    if (!thing.matches(".s-fig")) return;
    loosen(thing);
    if (root.classList.contains("with-text")) return;
    const pictures = $(":scope > .s-grid", thing), least = article.clientWidth * 0.55;
    for (let tries = 0; tries < 5; tries += 1) {
      const beside = thing.classList.contains("s-beside"), width = thing.offsetWidth;
      const box = (beside ? pictures : thing).getBoundingClientRect();
      const room = innerHeight - (box.top + scrollY) - hud.offsetHeight - 24;
      if (box.height <= room || width <= least) return;
      if (pictures && !beside && innerWidth > 1000) thing.classList.add("s-beside");
      else thing.style.maxWidth = `${Math.max(least, width - box.width * (1 - Math.max(room / box.height, 0.6)))}px`;
    }
  };
  const titles = thing => {
    const found = [];
    for (let up = thing.closest("section"); up; up = up.parentElement.closest("section")) found.unshift($(":scope > :is(h1, h2, h3)", up) || $("h1", up));
    return found.filter(Boolean).slice(-1).map(heading => heading.textContent.replace(/#$/, "").trim())[0] || "";
  };
  const go = to => {
    at = Math.max(0, Math.min(slides.length - 1, to));
    const thing = slides[at];
    put(thing);
    fit(thing);
    if (root.classList.contains("with-text")) thing.scrollIntoView({block: thing.offsetHeight > innerHeight ? "start" : "center"});
    else scrollTo(0, 0);
    $("span", hud).textContent = `${at + 1} / ${slides.length}`;
    say(`${titles(thing)}: ${at + 1} of ${slides.length}`);
  };
  const text = () => {
    root.classList.toggle("with-text");
    $("[aria-pressed]", hud).setAttribute("aria-pressed", root.classList.contains("with-text"));
    go(at);
  };
  const present = on => {
    if (on) {
      slides = collect();
      if (!slides.length) return;
      at = Math.max(0, slides.findIndex(thing => thing.getBoundingClientRect().bottom > innerHeight * 0.3));
      if (!hud) document.body.append(hud = controls());
    }
    root.classList.toggle("presenter", on);
    if (on) return go(at);
    root.classList.remove("with-text");
    $("[aria-pressed]", hud).setAttribute("aria-pressed", "false");
    const thing = slides[at];
    clear();
    slides.forEach(loosen);
    thing.scrollIntoView({block: "center"});
    say("Reading mode");
  };
  const controls = () => {
    const button = (label, sign, act) => {
      const made = make("button", {type: "button", textContent: sign, title: label});
      made.setAttribute("aria-label", label);
      made.addEventListener("click", act);
      return made;
    };
    const words = button("Text (T)", "T", text);
    words.setAttribute("aria-pressed", "false");
    const bar = make("div", {className: "s-hud"}, button("Back (left arrow)", "←", () => go(at - 1)), make("span"),
      button("On (right arrow)", "→", () => go(at + 1)), words, button("Leave (Escape)", "×", () => present(false)));
    bar.setAttribute("role", "toolbar");
    bar.setAttribute("aria-label", "Presenter");
    return bar;
  };
  const typing = target => target.closest && target.closest("input:not([type=radio], [type=checkbox], [type=range]), textarea, select, [contenteditable]");
  $$("[data-present]").forEach(button => button.addEventListener("click", () => present(true)));
  addEventListener("resize", () => root.classList.contains("presenter") && fit(slides[at]));
  document.addEventListener("keydown", event => {
    const on = root.classList.contains("presenter"), key = event.key.toLowerCase();
    if ($("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (key === "p") return present(!on);
    if (!on || event.defaultPrevented) return;
    if (key === "escape") return present(false);
    if (key === "t") return text();
    const by = {arrowright: 1, pagedown: 1, arrowleft: -1, pageup: -1}[key];
    // The arrows belong to what has the focus and uses them: a choice, a slider, an explorer's drawing.
    if (!by || event.target.matches("input, [role=slider], [role=application], .s-now [tabindex]")) return;
    event.preventDefault();
    go(at + by);
  });
  // "Go to the question", on a veil, and links: what they lead to may be on another slide.
  document.addEventListener("click", event => {
    if (!root.classList.contains("presenter") || root.classList.contains("with-text")) return;
    const gate = event.target.closest(".s-veil .is-main") && event.target.closest(".s-gate");
    const link = event.target.closest("a[href^='#']");
    const name = gate ? `quiz-${gate.dataset.gate.split(" ")[0].replaceAll(".", "-")}` : link && decodeURIComponent(link.hash.slice(1));
    const target = name && document.getElementById(name);
    const to = target ? slides.findIndex(thing => thing.contains(target)) : -1;
    if (to >= 0) go(to);
  });
})();
