// A linear classifier of 8 × 8 digits: the reader draws, the shares of its scores follow.
// Data: weights (10, 64), bias (10), common (64), samples (n, 64).
(() => {
  "use strict";
  const {$, mount, data, array, controls, number, maps} = window.sinb;
  const SIDE = 8, CELLS = 64;

  // The scores of all classes, and their softmax.
  const score = (x, weights, bias, common, strength) => Array.from({length: 10}, (_, c) => {
    let sum = bias[c];
    for (let i = 0; i < CELLS; i++) sum += (weights[c * CELLS + i] + strength * common[i]) * x[i];
    return sum;
  });
  const softmax = scores => {
    const top = Math.max(...scores), odds = scores.map(s => Math.exp(s - top)), all = odds.reduce((a, b) => a + b);
    return odds.map(o => o / all);
  };
  const total = values => values.reduce((a, b) => a + b, 0);
  const largest = (...lists) => Math.max(...lists.flat().map(Math.abs)) || 1;

  mount('[data-explorer="digits"]', figure => {
    const given = data(figure), [weights, bias, common, samples] =
      ["weights", "bias", "common", "samples"].map(name => array(given[name]).values);
    const pad = maps.canvas($('[data-panel="pad"] img', figure));
    const drawn = Object.fromEntries(["single", "contrast"].map(
      slot => [slot, maps.canvas($('[data-panel="' + slot + '"] img', figure))]));
    let x = samples.slice(0, CELLS), erasing = false, cursor = null;

    const shares = (why, rather, strength) => Array.from({length: CELLS}, (_, i) => {
      const other = rather === null ? -strength * common[i] : weights[rather * CELLS + i];
      return (weights[why * CELLS + i] - other) * x[i];
    });

    const show = () => {
      const why = Number(chosen.get("why")), rather = Number(chosen.get("rather")), strength = chosen.get("common");
      const single = shares(why, null, strength), contrast = shares(why, rather, 0);
      const scores = score(x, weights, bias, common, strength), odds = softmax(scores), best = odds.indexOf(Math.max(...odds));
      // One scale for both maps, that does not move with the slider: what changes is then the map.
      const top = largest(shares(why, null, 0), shares(why, null, 1), contrast);
      const asked = "why a " + why, compared = asked + " rather than a " + rather;
      maps.grey(pad, x, SIDE, SIDE, null, true);
      maps.title(figure, "single", asked + "?", "shares sum to " + number(total(single)));
      maps.title(figure, "contrast", compared + "?", "shares sum to " + number(total(contrast)));
      maps.paint(drawn.single, single, SIDE, SIDE, {top, signed: true}, "Shares of the score, 8 by 8, " + asked + ": sum " + number(total(single)));
      maps.paint(drawn.contrast, contrast, SIDE, SIDE, {top, signed: true}, "Shares of the difference, 8 by 8, " + compared + ": sum " + number(total(contrast)));
      maps.bar(figure, "share", number(-top), number(top));
      maps.odds(figure, "classes", odds.map((p, digit) => [String(digit), 100 * p]));
      maps.say(figure, "The classifier says " + best + ", with probability " + Math.round(100 * odds[best]) + " %. The shares of the "
        + why + " sum to " + number(total(single)) + ", those of the contrast to " + number(total(contrast)) + "."
        + (strength ? " With the common pattern, every score has moved by the same " + number(strength * total(Array.from(x, (v, i) => v * common[i]))) + "." : ""));
      Object.assign(figure.dataset, {scores: scores.map(s => s.toFixed(5)).join(" "), single: total(single).toFixed(5), contrast: total(contrast).toFixed(5)});
    };

    const chosen = controls(figure, (name, value) => {
      if (name === "sample") x = samples.slice(value * CELLS, (Number(value) + 1) * CELLS);
      if (name === "clear") { x = new Float32Array(CELLS); chosen.set("sample", -1); }
      if (name === "erase") erasing = value;
      if (name === "why" && value === chosen.get("rather")) chosen.set("rather", (Number(value) + 1) % 10);
      if (name === "rather" && value === chosen.get("why")) chosen.set("why", (Number(value) + 1) % 10);
      show();
    }, {common: value => (value ? Math.round(100 * value) + " % of it" : "none of it")});

    // A soft brush, a little wider than a cell: it darkens, or lightens while erasing.
    const brush = (row, column, clear = erasing) => {
      for (let i = 0; i < CELLS; i++) {
        const away = Math.hypot(Math.floor(i / SIDE) + 0.5 - row, (i % SIDE) + 0.5 - column);
        const ink = Math.min(1, Math.max(0, 1.35 - away));
        x[i] = clear ? Math.min(x[i], 1 - ink) : Math.max(x[i], ink);
      }
      chosen.set("sample", -1);
    };
    const at = event => {
      const box = pad.getBoundingClientRect();
      return [(event.clientY - box.top) / box.height * SIDE, (event.clientX - box.left) / box.width * SIDE];
    };
    let last = null;
    const stroke = event => {
      const [row, column] = at(event), steps = Math.max(1, Math.ceil(2 * Math.hypot(row - last[0], column - last[1])));
      for (let s = 1; s <= steps; s++) brush(last[0] + (row - last[0]) * s / steps, last[1] + (column - last[1]) * s / steps);
      last = [row, column];
      show();
    };
    pad.addEventListener("pointerdown", event => {
      event.preventDefault();
      pad.focus();
      pad.setPointerCapture(event.pointerId);
      last = at(event);
      place(null);
      stroke(event);
    });
    pad.addEventListener("pointermove", event => { if (last) stroke(event); });
    ["pointerup", "pointercancel"].forEach(name => pad.addEventListener(name, () => { last = null; }));

    // By keyboard: the arrows move a mark over the pad, space draws under it, backspace erases.
    const mark = $('[data-panel="pad"] .s-mark', figure);
    const place = to => {
      cursor = to;
      mark.hidden = !to;
      if (to) mark.style.cssText = "left:" + 12.5 * to[1] + "%;top:" + 12.5 * to[0] + "%";
    };
    const tell = () => {
      const level = x[cursor[0] * SIDE + cursor[1]];
      window.sinb.say("Row " + (cursor[0] + 1) + ", column " + (cursor[1] + 1) + ", " + Math.round(100 * level) + " % ink");
    };
    pad.addEventListener("keydown", event => {
      const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
      const draws = event.key === " " || event.key === "Enter", clears = event.key === "Backspace" || event.key === "Delete";
      if (!step && !draws && !clears) return;
      event.preventDefault();
      if (step) place(cursor ? cursor.map((v, i) => Math.min(SIDE - 1, Math.max(0, v + step[i]))) : [3, 3]);
      else {
        if (!cursor) place([3, 3]);
        brush(cursor[0] + 0.5, cursor[1] + 0.5, clears || erasing);
        show();
      }
      tell();
    });
    pad.addEventListener("blur", () => place(null));
    Object.assign(pad, {tabIndex: 0});
    pad.classList.add("s-pad");
    pad.setAttribute("role", "application");
    pad.setAttribute("aria-label", "Drawing pad of 8 by 8 pixels. The arrow keys move, space draws, backspace erases.");
    show();
  });
})();
