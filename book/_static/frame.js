// The book's frame: light and dark, contents, search, code, equations, progress. Without it every page is complete.
(() => {
  "use strict";
  const {$, $$, make, store, say} = window.sinb;
  const root = document.documentElement, page = document.body.dataset.page;

  // ---- light and dark: the reader's choice, or else the system's
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { return; } };
  const paintTheme = () => {
    const dark = root.dataset.mode === "auto" ? system.matches : root.dataset.mode === "dark";
    root.dataset.theme = dark ? "dark" : "light";
  };
  system.addEventListener("change", paintTheme);
  $$(".theme-switch-button").forEach(button => button.addEventListener("click", () => {
    root.dataset.mode = root.dataset.theme === "dark" ? "light" : "dark";
    remember("mode", root.dataset.mode);
    paintTheme();
    say(root.dataset.theme === "dark" ? "Dark" : "Light");
  }));

  // ---- contents: on a phone a drawer
  const drawer = on => {
    root.classList.toggle("nav-open", on);
    $$(".s-nav-open").forEach(button => button.setAttribute("aria-expanded", on));
    if (on) $("#s-contents a").focus();
  };
  $$(".s-nav-open").forEach(button => button.addEventListener("click", () => drawer(!root.classList.contains("nav-open"))));
  document.addEventListener("click", event => {
    if (!root.classList.contains("nav-open") || event.target.closest(".s-nav-open")) return;
    if (!event.target.closest("#s-contents") || event.target.closest("a")) drawer(false);
  });
  const current = $("#s-contents a[aria-current]");
  if (current && current.offsetTop > innerHeight * 0.7) $("#s-contents").scrollTop = current.offsetTop - innerHeight / 3;

  // ---- search: from every page; on the page it leads to, the words are marked, and only whole words
  const find = $("#s-search");
  const ask = () => { drawer(false); if (!find.open) find.showModal(); $("input", find).focus(); };
  $$("[data-find]").forEach(link => link.addEventListener("click", event => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    ask();
  }));
  find.addEventListener("click", event => { if (event.target === find) find.close(); });
  const mark = (element, words) => {
    const escaped = words.filter(word => word.length > 1).map(word => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    if (!escaped.length) return;
    const whole = new RegExp(`(?<![\\p{L}\\p{N}])(?:${escaped.join("|")})(?![\\p{L}\\p{N}])`, "giu");
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), texts = [];
    while (walker.nextNode()) {
      const text = walker.currentNode, inside = text.parentElement;
      if (inside && !inside.closest("script, style, pre, mjx-container, svg, mark, button, form, .s-sr")) texts.push(text);
    }
    texts.forEach(text => {
      const found = [...text.data.matchAll(whole)];
      found.reverse().forEach(hit => {
        const rest = text.splitText(hit.index);
        rest.splitText(hit[0].length);
        rest.replaceWith(make("mark", {className: "s-found", textContent: hit[0]}));
      });
    });
  };
  window.sinb.mark = mark;
  const cameFromSearch = /\/search\.html(\?|$)/.test(document.referrer);
  try {
    const words = localStorage.getItem("sphinx_highlight_terms");
    if (words && page !== "search") {
      localStorage.removeItem("sphinx_highlight_terms");
      if (cameFromSearch || location.protocol === "file:") mark($(".bd-article"), words.toLowerCase().split(/\s+/));
    }
  } catch { /* no storage: nothing to mark */ }
  const unmark = () => $$("mark.s-found").forEach(found => { const inside = found.parentNode; found.replaceWith(...found.childNodes); inside.normalize(); });
  // A page opened as a file may not read the other pages: the search then lists its results without excerpts.
  if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  // ---- code: a copy button
  const copied = text => navigator.clipboard && navigator.clipboard.writeText ? navigator.clipboard.writeText(text) : Promise.reject(new Error("no clipboard"));
  $$(".bd-article div[class*='highlight-']:not(.output)").forEach(block => {
    const pre = $("pre", block);
    if (!pre) return;
    const prompt = /^\$ /gm, text = () => pre.textContent.replace(prompt, "").trimEnd() + "\n";
    const lines = pre.textContent.trimEnd().split("\n").length;
    const button = make("button", {type: "button", className: "s-copy", textContent: "copy"});
    button.setAttribute("aria-label", `Copy ${lines} ${lines === 1 ? "line" : "lines"} of code`);
    const byHand = () => {
      const range = document.createRange();
      range.selectNodeContents(pre);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      return document.execCommand("copy");
    };
    button.addEventListener("click", () => copied(text()).catch(byHand).then(() => {
      button.textContent = "copied";
      say("Copied");
      setTimeout(() => { button.textContent = "copy"; }, 1600);
    }));
    block.append(button);
  });

  // ---- what scrolls in its own box can be reached from the keyboard; a wide equation says that it goes on
  const SMALLEST = 0.8, PAPER = 660;   // how far an equation is shrunk before it scrolls; pixels across on paper
  const fitEquations = () => $$(".bd-article div.math").forEach(box => {
    const drawn = $("mjx-container", box);
    if (!drawn || !box.clientWidth) return;
    box.style.removeProperty("--fit");
    const inside = $("mjx-math", drawn) || drawn, style = getComputedStyle(box);
    const room = box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const wide = Math.max(inside.getBoundingClientRect().width, ...$$("mjx-mtable, mjx-mrow", inside).map(part => part.getBoundingClientRect().width));
    const em = parseFloat(style.fontSize) / 13;   // 13 pixels: the text on paper
    box.style.setProperty("--fit-print", Math.min(1, PAPER * em / wide).toFixed(3));
    if (wide > room) box.style.setProperty("--fit", Math.max(SMALLEST, (room - 2) / wide).toFixed(3));
    box.classList.toggle("is-wide", wide * SMALLEST > room + 1);
  });
  const SCROLLS = ".highlight pre, .output, .pst-scrollable-table-container, .bd-article div.math, .bd-article table.table, .bd-article table.docutils, .s-rows, .bd-article [role='region'], .bd-article mjx-container:not([display='true'])";
  const reachable = () => $$(SCROLLS).forEach(box => {
    const scrolls = box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible";
    if (scrolls) box.tabIndex = 0;
    else if (box.tabIndex === 0) box.removeAttribute("tabindex");
  });
  const fit = () => { fitEquations(); reachable(); };
  let resting;
  addEventListener("resize", () => { clearTimeout(resting); resting = setTimeout(fit, 200); });
  addEventListener("load", () => {
    fit();
    const ready = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    if (ready) ready.then(fit);
  });
  document.addEventListener("toggle", event => { if (event.target.open) fit(); }, true);

  // ---- on paper the solutions and hints are open; the teacher's long lists of mistakes as they were left
  const opened = [];
  addEventListener("beforeprint", () => $$(".bd-article details:not([open])").forEach(details => {
    if (details.matches(".hide, .s-mistakes") && !details.closest(".tag_solution")) return;
    details.open = true;
    opened.push(details);
  }));
  addEventListener("afterprint", () => opened.splice(0).forEach(details => { details.open = false; }));

  // ---- progress: a section is read when its end has been on the screen for a moment
  const steps = $$(".s-steps a[href^='#']"), key = "read:" + page, read = new Set(store.get(key) || []);
  const sections = steps.map(step => document.getElementById(decodeURIComponent(step.hash.slice(1)))).filter(Boolean);
  const paintSteps = () => steps.forEach(step => {
    const done = read.has(step.hash) && !step.closest(".is-plain");
    step.classList.toggle("is-read", done);
    $(".s-done", step).textContent = done ? " (read)" : "";
  });
  let waiting;
  const look = () => {
    root.style.setProperty("--read", Math.min(1, scrollY / Math.max(1, root.scrollHeight - innerHeight)).toFixed(4));
    if (!sections.length || root.classList.contains("presenter")) return;
    let here = sections[0];
    sections.forEach(section => { if (section.getBoundingClientRect().top < innerHeight * 0.4) here = section; });
    steps.forEach(step => {
      const on = step.hash === "#" + here.id;
      step.classList.toggle("is-here", on);
      if (on) step.setAttribute("aria-current", "true");
      else step.removeAttribute("aria-current");
    });
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      const before = read.size;
      sections.forEach(section => {
        const box = section.getBoundingClientRect();
        if (box.bottom < innerHeight + 40 && box.bottom > 0) read.add("#" + section.id);
      });
      if (read.size > before && steps.some(step => !step.closest(".is-plain"))) store.set(key, [...read]);
      paintSteps();
    }, 900);
  };
  addEventListener("scroll", look, {passive: true});
  addEventListener("resize", look);
  paintSteps();
  look();

  // ---- forget everything: asked twice
  $$("[data-forget]").forEach(button => {
    const asks = button.textContent;
    let sure = false;
    button.addEventListener("click", () => {
      if (!sure) {
        sure = true;
        button.textContent = "Forget all answers and ticks? Press again.";
        say(button.textContent);
        return;
      }
      clearTimeout(waiting);
      store.clear();
      history.scrollRestoration = "manual";   // or what is in view would be ticked again
      location.reload();
    });
    button.addEventListener("blur", () => { sure = false; button.textContent = asks; });
  });

  document.addEventListener("keydown", event => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); ask(); }
    if (event.key !== "Escape") return;
    unmark();
    if (root.classList.contains("nav-open")) { drawer(false); $(".s-nav-open").focus(); }
  });
})();
