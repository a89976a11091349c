// Presenter mode: P begins and ends it, the arrows step from heading to figure to question, Escape leaves.
(() => {
  "use strict";
  const {$, $$, make, say} = window.sinb;
  const root = document.documentElement;
  const STOPS = ".s-opener, .bd-article h2, .s-fig, .s-quiz, .xw-quiz, .admonition.tip, .admonition.important";
  const stops = () => $$(STOPS).filter(stop => stop.getClientRects().length && !stop.parentElement.closest(".s-fig, .s-quiz"));
  let at = 0, hud;
  const go = to => {
    const all = stops();
    at = Math.max(0, Math.min(all.length - 1, to));
    all[at].scrollIntoView({block: all[at].offsetHeight > innerHeight || all[at].matches("h2, .s-opener") ? "start" : "center"});
    $("span", hud).textContent = `${at + 1} / ${all.length}`;
  };
  const present = on => {
    if (!stops().length) return;
    if (!hud) {
      hud = make("div", {className: "s-hud"}, make("span"), make("span", {textContent: "← → to step, P or Esc to leave"}));
      document.body.append(hud);
    }
    const first = stops().findIndex(stop => stop.getBoundingClientRect().bottom > innerHeight * 0.3);
    root.classList.toggle("presenter", on);
    if (on) requestAnimationFrame(() => go(Math.max(0, first)));
    say(on ? "Presenter mode" : "Reading mode");
  };
  const typing = target => target.closest && target.closest("input:not([type=radio], [type=checkbox], [type=range]), textarea, select, [contenteditable]");
  $$("[data-present]").forEach(button => button.addEventListener("click", () => present(true)));
  document.addEventListener("keydown", event => {
    const on = root.classList.contains("presenter");
    if ($("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (event.key === "Escape" && on) present(false);
    else if (event.key.toLowerCase() === "p") present(!on);
    else if (on && !event.target.matches("input")) {
      const by = {ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1}[event.key];
      if (!by) return;
      event.preventDefault();
      go(at + by);
    }
  });
})();
