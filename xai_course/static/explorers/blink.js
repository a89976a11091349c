// A blink comparator: two pictures in one place, a curtain between them, and their difference.
// Data: names, notes, gain, differ. The pictures stand in the first frame, stored without loss.
(() => {
  "use strict";
  const {sinb} = window, {$} = sinb, HOLD = 500; // milliseconds for which each is shown: two changes a second

  const levels = image => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d", {willReadFrequently: true, colorSpace: "srgb"});
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height);
  };
  // Middle grey where the two agree.
  const difference = (canvas, first, second, gain) => {
    const a = levels(first), b = levels(second).data;
    for (let i = 0; i < b.length; i++) if (i % 4 < 3) a.data[i] = Math.round(127.5 + gain * (b[i] - a.data[i]));
    canvas.width = a.width;
    canvas.height = a.height;
    canvas.getContext("2d").putImageData(a, 0, 0);
  };

  sinb.mount('[data-explorer="blink"]', figure => {
    const {maps, make} = sinb, {names, notes, gain, differ} = sinb.data(figure), still = matchMedia("(prefers-reduced-motion: reduce)");
    const shot = $('[data-panel="first"] .s-shot', figure), first = $("img", shot), other = $('[data-panel="second"]', figure), second = $("img", other);
    const canvas = make("canvas", {className: "difference", hidden: true}), seam = make("i", {className: "s-seam", hidden: true});
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "The difference of the two pictures, times " + gain + "; middle grey where they agree");
    other.hidden = true;
    shot.append(second, canvas, seam);
    $(".s-grid", figure).style.setProperty("--cols", 3);
    let timer = null;

    const show = () => {
      const view = chosen.get("view"), cover = chosen.get("cover"), off = view === "difference", whole = cover === 0 || cover === 100;
      const which = cover === 100 ? 1 : 0;
      first.alt = whole && !which ? "The picture " + names[0] : names[0] + ", under the curtain";
      second.alt = "The picture " + names[1];
      second.style.clipPath = "inset(0 " + (100 - cover) + "% 0 0)";
      second.hidden = cover === 0;
      seam.hidden = off || whole;
      seam.style.left = cover + "%";
      canvas.hidden = !off;
      maps.title(figure, "first", off ? names[1] + " minus " + names[0] + ", × " + gain : whole ? names[which] : names[1] + " left, " + names[0] + " right",
        off ? "grey where they agree" : whole ? notes[which] : "");
      [0, 1].forEach(i => $('[data-panel="heat-' + i + '"]', figure).classList.toggle("is-shown", !off && whole && i === which));
      figure.dataset.shown = off ? "difference" : cover;
      if (timer === null) maps.say(figure, (off ? "Shown: the difference, times " + gain + "." : whole ? "Shown: " + names[which] + "." : "Shown: " + names[1] + " from the left up to " + cover + " % of the width, then " + names[0] + ".") + " " + differ);
    };
    const put = cover => {
      chosen.set("cover", cover);
      chosen.set("view", cover);
    };
    const swap = () => put(chosen.get("view") !== "difference" && chosen.get("cover") === 0 ? 100 : 0);
    const stop = () => {
      clearInterval(timer);
      timer = null;
      chosen.set("blink", false);
    };
    const start = () => {
      timer = setInterval(() => { swap(); show(); }, HOLD);
      swap();
      maps.say(figure, "Shown in turn: " + names[0] + " and " + names[1] + ". " + differ);
    };
    const acts = {
      view: value => { if (value !== "difference") put(Number(value)); },
      cover: put,
      swap,
      blink: on => { if (on) start(); },
    };
    const chosen = sinb.controls(figure, (name, value) => {
      clearInterval(timer);
      timer = null;
      if (name !== "blink") chosen.set("blink", false);
      acts[name](value);
      show();
    }, {cover: value => value + " %"});

    // Where less motion is wished, a button turns from one to the other, once.
    const motion = () => {
      if (still.matches) stop();
      $('[data-control="blink"]', figure).hidden = still.matches;
      $('[data-control="swap"]', figure).hidden = !still.matches;
    };
    still.addEventListener("change", () => { motion(); show(); });
    document.addEventListener("visibilitychange", () => { if (document.hidden && timer !== null) { stop(); show(); } });
    // On the picture itself: a press turns to the other one, a drag draws the curtain.
    let from = null, drags = false;
    shot.addEventListener("pointerdown", event => {
      if (event.button) return;
      event.preventDefault();
      shot.setPointerCapture(event.pointerId);
      from = event.clientX;
      drags = false;
    });
    shot.addEventListener("pointermove", event => {
      if (from === null) return;
      drags ||= Math.abs(event.clientX - from) > 5;
      if (!drags) return;
      const box = shot.getBoundingClientRect();
      stop();
      put(Math.round(100 * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))));
      show();
    });
    shot.addEventListener("pointerup", () => {
      if (from !== null && !drags) { stop(); swap(); show(); }
      from = null;
    });
    shot.addEventListener("pointercancel", () => { from = null; });
    Promise.all([first.decode(), second.decode()]).then(() => difference(canvas, first, second, gain));
    motion();
    show();
  });
})();
