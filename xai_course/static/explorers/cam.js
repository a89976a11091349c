// Class activation maps of one photograph. Data: maps (K, h, w), weights (C, K), bias (C), names, size, box or null.
(() => {
  "use strict";
  const {$, mount, data, array, controls, number, random, shuffled, maps} = window.sinb;

  // The tightest box round the largest piece (cells that share a side) of what reaches the threshold.
  const tightest = (heat, height, width, threshold) => {
    const largest = heat.reduce((a, b) => Math.max(a, b), 0);
    let best = 0, box = [0, 0, 0, 0];
    if (largest <= 0) return box;
    const open = Uint8Array.from(heat, value => value >= threshold * largest);
    for (let start = 0; start < open.length; start++) {
      if (!open[start]) continue;
      const piece = [start], found = [width, height, 0, 0];
      let size = 0;
      open[start] = 0;
      while (piece.length) {
        const at = piece.pop(), x = at % width, y = (at - x) / width;
        size++;
        found[0] = Math.min(found[0], x); found[1] = Math.min(found[1], y);
        found[2] = Math.max(found[2], x + 1); found[3] = Math.max(found[3], y + 1);
        [[x > 0, at - 1], [x < width - 1, at + 1], [y > 0, at - width], [y < height - 1, at + width]].forEach(([inside, to]) => {
          if (inside && open[to]) { open[to] = 0; piece.push(to); }
        });
      }
      if (size > best) { best = size; box = found; }
    }
    return box;
  };
  const overlap = (a, b) => {
    const area = box => Math.max(0, box[2] - box[0]) * Math.max(0, box[3] - box[1]);
    const shared = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
    return shared / (area(a) + area(b) - shared || 1);
  };

  mount('[data-explorer="cam"]', figure => {
    const given = data(figure), A = array(given.maps), [K, h, w] = A.shape, cells = h * w;
    const weights = array(given.weights).values, bias = array(given.bias).values, [height, width] = given.size;
    const drawn = maps.canvas($('[data-panel="map"] img.heat', figure));
    const inPlace = Array.from({length: cells}, (_, i) => i);
    let order = inPlace, draws = 0;

    // From the feature maps in the order that the cells have now: the map, and the logit by pooling.
    const compute = (c, order) => {
      const heat = new Float64Array(cells);
      let logit = bias[c];
      for (let k = 0; k < K; k++) {
        let pooled = 0;
        for (let i = 0; i < cells; i++) {
          const a = A.values[k * cells + order[i]];
          heat[i] += weights[c * K + k] * a;
          pooled += a;
        }
        logit += weights[c * K + k] * pooled / cells;
      }
      return {heat, logit};
    };

    const show = () => {
      const c = Number(chosen.get("class")), threshold = chosen.get("threshold"), smooth = chosen.get("drawn") === "smooth";
      const {heat, logit} = compute(c, order), before = compute(c, inPlace).logit, top = heat.reduce((a, b) => Math.max(a, b), 0), name = "“" + given.names[c] + "”";
      const [rows, columns] = smooth ? [height, width] : [h, w], shown = smooth ? maps.stretch(heat, h, w, height, width) : heat;
      const found = tightest(shown, rows, columns, threshold).map((v, i) => v / (i % 2 ? rows : columns));
      const share = (found[2] - found[0]) * (found[3] - found[1]), moved = order !== inPlace;
      drawn.classList.toggle("s-px", !smooth);
      maps.paint(drawn, shown, rows, columns, {top, over: true}, "Class activation map of " + name + " over the photograph in grey"
        + (moved ? ", its cells shuffled" : "") + ". Its box reaches from " + Math.round(100 * found[0]) + " to " + Math.round(100 * found[2])
        + " % of the width and from " + Math.round(100 * found[1]) + " to " + Math.round(100 * found[3]) + " % of the height.");
      maps.title(figure, "map", "map of " + name, moved ? "cells shuffled" : "cells in their places");
      maps.box($('[data-panel="photo"]', figure), found);
      maps.bar(figure, "heat", "0", number(Math.max(0, top), 1));
      Object.entries({logit, before}).forEach(([slot, value]) => { $('[data-big="' + slot + '"] b', figure).textContent = number(value); });
      $(".s-sum", figure).textContent = "mean of the map " + number(logit - bias[c]) + " + bias " + number(bias[c]) + " = logit " + number(logit);
      const pixels = found.map((v, i) => v * (i % 2 ? height : width));
      maps.say(figure, "Logit of " + name + ": " + number(logit) + (moved && Math.abs(logit - before) < 1e-6 ? ", as before the cells were shuffled" : "") + ". At " + Math.round(100 * threshold)
        + " % of the maximum the box covers " + Math.round(100 * share) + " % of the photograph."
        + (given.box ? " Its overlap with the human’s box, IoU, is " + overlap(pixels, given.box).toFixed(2) + "." : ""));
      Object.assign(figure.dataset, {logit: logit.toFixed(5), box: pixels.map(v => Math.round(v)).join(" ")});
    };

    const chosen = controls(figure, name => {
      if (name === "shuffle") order = shuffled(cells, random(++draws));
      if (name === "back") order = inPlace;
      show();
    }, {threshold: value => Math.round(100 * value) + " % of the maximum"});
    show();
  });
})();
