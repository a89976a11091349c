// Mark an object with a box: the heat of some maps inside it, their maxima, its overlap with annotators' outlines.
// Data: size, cell, names, who, maps (n, s, s) with s = size / cell, peaks, masks (m, size, size), tight, box.
(() => {
  "use strict";
  const {sinb} = window, {$, $$} = sinb;

  // Sums over every rectangle from the upper left corner, (rows + 1) × (columns + 1).
  const sums = (values, from, side) => {
    const wide = side + 1, all = new Float64Array(wide * wide);
    for (let y = 0; y < side; y++) for (let x = 0; x < side; x++)
      all[(y + 1) * wide + x + 1] = values[from + y * side + x] + all[y * wide + x + 1] + all[(y + 1) * wide + x] - all[y * wide + x];
    return (x0, y0, x1, y1) => all[y1 * wide + x1] - all[y0 * wide + x1] - all[y1 * wide + x0] + all[y0 * wide + x0];
  };

  // What a box says: shares of one. Values of maps and masks come with their sums.
  const judge = data => {
    const {size, cell, names, who} = data, side = size / cell;
    const maps = sinb.array(data.maps).values, masks = sinb.array(data.masks).values;
    const heat = names.map((_, k) => sums(maps, k * side * side, side)), marked = who.map((_, k) => sums(masks, k * size * size, size));
    return box => {
      const [x0, y0, x1, y1] = box, area = (x1 - x0) * (y1 - y0), at = box.map(v => v / cell);
      return {
        energy: heat.map(sum => sum(...at) / sum(0, 0, side, side)),
        hits: data.peaks.map(peaks => peaks.filter(([y, x]) => y0 <= y && y < y1 && x0 <= x && x < x1).length / peaks.length),
        area: area / size ** 2,
        overlap: marked.map(sum => { const shared = sum(...box); return shared / (area + sum(0, 0, size, size) - shared); }),
      };
    };
  };

  sinb.annotate = {judge};

  sinb.mount('[data-explorer="annotate"]', figure => {
    const {maps} = sinb, data = sinb.data(figure), {size, cell, names, who} = data, side = size / cell, judged = judge(data);
    const heat = sinb.array(data.maps).values, drawn = maps.canvas($('[data-panel="map"] img.heat', figure));
    const pad = $('[data-panel="photo"] .s-shot', figure), outlines = $(".s-outlines", figure), keys = $(".s-keys", figure);
    const panels = $$('[data-panel="photo"], [data-panel="map"]', figure), peaks = $(".s-peaks", figure);
    const percent = (value, places) => (100 * value).toFixed(places) + " %";
    let box = [...data.box], chosen = 0, painted = -1;

    const paint = () => {
      if (painted === chosen) return;
      painted = chosen;
      const values = heat.slice(chosen * side * side, (chosen + 1) * side * side);
      maps.paint(drawn, values, side, side, {over: true}, "The map " + names[chosen] + " over the photograph in grey");
      peaks.innerHTML = data.peaks[chosen].slice(0, 20).map(([y, x]) =>
        '<path d="M' + (x - 4.5) + " " + (y - 4.5) + "l10 10M" + (x + 5.5) + " " + (y - 4.5) + 'l-10 10"/>').join("");
      maps.title(figure, "map", "The same box, and " + names[chosen]);
    };
    const show = () => {
      const found = judged(box), hit = found.hits[chosen], mark = share => (share === 1 ? "\u2713" : share === 0 ? "\u2717" : share.toFixed(2));
      paint();
      panels.forEach(panel => maps.box(panel, box.map(v => v / size)));
      maps.odds(figure, "shares", [...names.map((name, k) => [name + " " + mark(found.hits[k]), 100 * found.energy[k]]), ["your box", 100 * found.area]]);
      maps.say(figure, "Your box covers " + percent(found.area, 1) + " of the picture; its overlap, IoU, is "
        + who.map((name, k) => found.overlap[k].toFixed(2) + " with " + name + "\u2019s outline").join(" and ") + ". "
        + names[chosen] + ": " + percent(found.energy[chosen], 1) + " of the heat inside; pointing: "
        + (hit === 1 ? "a hit" : hit === 0 ? "a miss" : hit.toFixed(2) + " of a hit") + ".");
      figure.dataset.box = box.join(" ");
    };

    // Whole cells inside the picture, and at least two of them wide and high.
    const snapped = v => Math.min(size, Math.max(0, cell * Math.round(v / cell)));
    const least = 2 * cell;
    const put = ([x0, y0, x1, y1]) => {
      const [left, right] = [snapped(Math.min(x0, x1)), snapped(Math.max(x0, x1))], [top, bottom] = [snapped(Math.min(y0, y1)), snapped(Math.max(y0, y1))];
      const l = Math.min(left, size - least), t = Math.min(top, size - least);
      box = [l, t, Math.max(right, l + least), Math.max(bottom, t + least)];
      show();
    };
    const move = (dx, dy) => {
      const x = Math.min(size - box[2], Math.max(-box[0], dx)), y = Math.min(size - box[3], Math.max(-box[1], dy));
      put([box[0] + x, box[1] + y, box[2] + x, box[3] + y]);
    };

    const acts = {
      map: value => { chosen = Number(value); },
      all: () => { box = [0, 0, size, size]; },
      again: () => { box = [...data.box]; },
      outlines: on => { outlines.toggleAttribute("hidden", !on); keys.hidden = !on; },
    };
    who.forEach((_, k) => { acts["tight-" + k] = () => { box = [...data.tight[k]]; }; });
    sinb.controls(figure, (name, value) => { acts[name](value); show(); });

    // A corner that is near is taken; elsewhere a new box begins, once the pointer has moved a little.
    const at = event => {
      const frame = pad.getBoundingClientRect();
      return [(event.clientX - frame.left) / frame.width * size, (event.clientY - frame.top) / frame.height * size];
    };
    let held = null;
    pad.addEventListener("pointerdown", event => {
      const [x, y] = at(event), corner = [[0, 1], [2, 1], [0, 3], [2, 3]].find(([i, j]) => Math.hypot(box[i] - x, box[j] - y) < size / 20);
      event.preventDefault();
      pad.focus();
      pad.setPointerCapture(event.pointerId);
      held = corner ? {fixed: [box[2 - corner[0]], box[4 - corner[1]]], moves: true} : {fixed: [x, y], moves: false};
    });
    pad.addEventListener("pointermove", event => {
      if (!held) return;
      const [x, y] = at(event);
      held.moves ||= Math.hypot(x - held.fixed[0], y - held.fixed[1]) > least;
      if (held.moves) put([...held.fixed, x, y]);
    });
    ["pointerup", "pointercancel"].forEach(name => pad.addEventListener(name, () => { held = null; }));
    pad.addEventListener("keydown", event => {
      const step = {ArrowUp: [0, -4], ArrowDown: [0, 4], ArrowLeft: [-4, 0], ArrowRight: [4, 0]}[event.key];
      if (!step) return;
      event.preventDefault();
      if (event.shiftKey) put([box[0], box[1], Math.max(box[0] + least, box[2] + step[0]), Math.max(box[1] + least, box[3] + step[1])]);
      else move(...step);
    });
    pad.tabIndex = 0;
    pad.classList.add("s-pad");
    pad.setAttribute("role", "application");
    pad.setAttribute("aria-label", "The photograph and your box. The arrow keys move the box, with Shift its lower right corner.");
    show();
  });
})();
