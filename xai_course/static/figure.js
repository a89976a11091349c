// Figures: a panel enlarges when it is chosen, and the heat over a picture can be made fainter.
(() => {
  "use strict";
  const {$, $$, make, mount} = window.sinb;
  let zoom;

  const dialog = () => {
    zoom = make("dialog", {className: "s-zoom"});
    zoom.setAttribute("aria-label", "Enlarged panel");
    zoom.innerHTML = '<div class="s-stage"></div><div class="s-zoom-foot"><p></p>' +
      '<button class="s-icon" data-by="-1" aria-label="Previous panel">←</button>' +
      '<button class="s-icon" data-by="1" aria-label="Next panel">→</button>' +
      '<button class="s-icon" data-by="0">Close</button></div>';
    document.body.append(zoom);
    zoom.addEventListener("click", event => {
      const button = event.target.closest("[data-by]");
      if (event.target === zoom || (button && button.dataset.by === "0")) zoom.close();
      else if (button) zoom.go(Number(button.dataset.by));
    });
    zoom.addEventListener("keydown", event => {
      if (event.key === "ArrowRight") zoom.go(1);
      if (event.key === "ArrowLeft") zoom.go(-1);
    });
  };

  const enlarge = shot => {
    if (!zoom) dialog();
    const shots = $$("button.s-shot", shot.closest(".s-fig"));
    let at = shots.indexOf(shot);
    const show = () => {
      const from = shots[at], box = from.getBoundingClientRect(), ratio = box.width / box.height;
      const stage = $(".s-stage", zoom);
      stage.replaceChildren(...[...from.children].map(child => child.cloneNode(true)));
      const width = Math.min(innerWidth * 0.94, 960, (innerHeight * 0.94 - 80) * ratio);
      stage.style.cssText = "width:" + width + "px;height:" + width / ratio + "px;--heat:" + (getComputedStyle(from).getPropertyValue("--heat") || 1);
      $("p", zoom).textContent = from.dataset.name + (shots.length > 1 ? "  (" + (at + 1) + " of " + shots.length + ")" : "");
      $$("[data-by='1'], [data-by='-1']", zoom).forEach(button => { button.hidden = shots.length < 2; });
    };
    zoom.go = by => { at = (at + by + shots.length) % shots.length; show(); };
    zoom.onclose = () => shots[at].focus();
    show();
    zoom.showModal();
  };

  mount("button.s-shot", shot => shot.addEventListener("click", () => enlarge(shot)));
  mount("[data-opacity]", input => {
    const figure = input.closest(".s-fig");
    const set = () => {
      figure.style.setProperty("--heat", input.value / 100);
      input.setAttribute("aria-valuetext", input.value + " %");
    };
    input.closest(".s-op").hidden = false;
    input.addEventListener("input", set);
    set();
  });
})();
