// RISE, mask by mask: the page makes the masks from their bits and shifts, and averages the scores that came with them.
(() => {
  "use strict";
  const {sinb} = window, {$, $$} = sinb, GROUPS = 8;

  // The weights of bilinear interpolation from grid cells, at places of a picture that is length pixels long:
  // for each place and shift the two cells between which it lies, and the share of the second.
  const between = (grid, length) => {
    const long = (grid + 1) * Math.ceil(length / grid);
    return place => {
      const at = Math.max(0, (place + 0.5) * grid / long - 0.5), low = Math.floor(at);
      return [low, Math.min(low + 1, grid - 1), at - low];
    };
  };

  // mask(i) gives the soft mask number i at side by side places of the picture.
  const masks = ({bits, shifts, grid, together, size, places}) => {
    const side = places.length, made = new Float32Array(side * side), rows = new Float32Array(side * grid);
    const cell = between(grid, size);
    return i => {
      const [down, across] = shifts[Math.floor(i / together)], start = i * grid * grid;
      places.forEach((place, y) => {
        const [a, b, share] = cell(place + down);
        for (let c = 0; c < grid; c++) {
          rows[y * grid + c] = (1 - share) * bits[start + a * grid + c] + share * bits[start + b * grid + c];
        }
      });
      places.forEach((place, x) => {
        const [a, b, share] = cell(place + across);
        for (let y = 0; y < side; y++) made[y * side + x] = (1 - share) * rows[y * grid + a] + share * rows[y * grid + b];
      });
      return made;
    };
  };

  // Sums over the masks first to first + n of one draw, kept in eight groups: what is drawn together stays together.
  const gather = (mask, scores, {together, keep, places}, first) => {
    const pixels = places.length ** 2, empty = () => Array.from({length: GROUPS}, () => new Float64Array(pixels));
    let total = empty(), cover = empty(), counts = new Array(GROUPS).fill(0), n = 0;

    const upTo = count => {
      if (count < n) { total = empty(); cover = empty(); counts = new Array(GROUPS).fill(0); n = 0; }
      for (; n < count; n++) {
        const made = mask(first + n), score = scores[first + n], g = Math.floor(n / together) % GROUPS;
        counts[g]++;
        for (let p = 0; p < pixels; p++) { total[g][p] += score * made[p]; cover[g][p] += made[p]; }
      }
    };
    const sum = (parts, p, but) => parts.reduce((all, part, g) => (g === but ? all : all + part[p]), 0);
    // The map, without one of the groups if but says which. The paper divides by what the coverage should be.
    const map = (paper, but = -1) => {
      const masks = counts.reduce((all, count, g) => (g === but ? all : all + count), 0), values = new Float64Array(pixels);
      for (let p = 0; p < pixels; p++) {
        const below = paper ? keep * masks : sum(cover, p, but);
        values[p] = below > 0 ? sum(total, p, but) / below : 0;
      }
      return values;
    };
    const variance = values => {
      const mean = values.reduce((a, b) => a + b) / values.length;
      return values.reduce((all, v) => all + (v - mean) ** 2, 0) / values.length;
    };
    // Noise over signal, by a jackknife over the groups, as the library's RiseFit.relative_error; null if too few.
    const error = paper => {
      if (n < 2 * together) return null;
      const whole = map(paper), used = Math.min(GROUPS, Math.ceil(n / together));
      let noise = 0;
      for (let g = 0; g < used; g++) {
        const without = map(paper, g), scale = (n / counts[g] - 1) / used;
        noise += scale * variance(whole.map((v, p) => v - without[p]));
      }
      const signal = variance(whole) - noise;
      return signal > 0 ? Math.sqrt(noise / signal) : Infinity;
    };
    return {upTo, map, error, masks: () => n};
  };

  const correlation = (a, b) => {
    const mean = values => values.reduce((x, y) => x + y) / values.length, ma = mean(a), mb = mean(b);
    let ab = 0, aa = 0, bb = 0;
    for (let i = 0; i < a.length; i++) { ab += (a[i] - ma) * (b[i] - mb); aa += (a[i] - ma) ** 2; bb += (b[i] - mb) ** 2; }
    return aa && bb ? ab / Math.sqrt(aa * bb) : 0;
  };

  // From its lowest value, 0, to its highest, 1.
  const stretched = values => {
    let low = Infinity, high = -Infinity;
    values.forEach(v => { low = Math.min(low, v); high = Math.max(high, v); });
    return high > low ? values.map(v => (v - low) / (high - low)) : values.map(() => 0);
  };

  // The numbers of an explorer, ready to compute with.
  const read = data => {
    const given = {...data, bits: sinb.array(data.bits).values, scores: sinb.array(data.scores).values}, mask = masks(given);
    const draw = k => {
      const all = k === "all", first = all ? 0 : k * data.each;
      return {first, most: all ? data.draws * data.each : data.each, ...gather(mask, given.scores, data, first)};
    };
    return {mask, draw, scores: given.scores};
  };

  sinb.rise = {read, correlation};

  sinb.mount('[data-explorer="rise"]', figure => {
    const {maps, number} = sinb, data = sinb.data(figure), {mask, draw, scores} = read(data), side = data.places.length;
    const slots = ["mask", "map", "other"], canvases = {};
    slots.forEach(slot => { canvases[slot] = maps.canvas($('[data-panel="' + slot + '"] .heat', figure)); });
    const chart = $(".s-chart", figure), drawn = {}, slow = matchMedia("(prefers-reduced-motion: reduce)");
    let playing = null, now, other, n = data.each;

    const paint = (slot, values, says) => maps.paint(canvases[slot], stretched(values), side, side, {over: true}, says);
    const look = () => {
      const k = controls.get("draw");
      now = draw(k === "all" ? k : +k);
      other = k === "all" ? null : draw((+k + 1) % data.draws);
      drawn.paper = [];
      drawn.coverage = [];
    };
    // The errors at the lengths passed so far, since they were last beyond measure: one line for each estimator.
    const trace = () => {
      const {x, y} = data.axes, at = ([v, e]) => [x.from + (x.to - x.from) * Math.log2(v / x.low) / Math.log2(x.high / x.low), y.from + (y.to - y.from) * Math.log2(Math.min(y.high, Math.max(y.low, e)) / y.low) / Math.log2(y.high / y.low)];
      ["paper", "coverage"].forEach(name => {
        const past = drawn[name].filter(([v]) => v <= n).sort((a, b) => a[0] - b[0]);
        const seen = past.slice(past.reduce((begin, [, e], i) => (isFinite(e) ? begin : i + 1), 0));
        $("[data-line='" + name + "']", chart).setAttribute("points", seen.map(point => at(point).map(v => v.toFixed(1)).join(",")).join(" "));
        const dot = $("[data-dot='" + name + "']", chart), last = seen[seen.length - 1], here = last && last[0] === n;
        dot.setAttribute("r", here ? 3.5 : 0);
        if (here) ["cx", "cy"].forEach((key, i) => dot.setAttribute(key, at(last)[i]));
      });
    };
    const note = () => ["paper", "coverage"].forEach(name => {
      if (drawn[name].some(([v]) => v === n)) return;
      const error = now.error(name === "paper");
      if (error !== null) drawn[name].push([n, error]);
    });

    const show = () => {
      const paper = controls.get("by") === "paper", last = now.first + n - 1;
      // What a slider jumped over belongs to the lines too.
      data.lengths.filter(v => v < n && !drawn.paper.some(([seen]) => seen === v)).forEach(v => {
        const held = n;
        n = v;
        now.upTo(v);
        note();
        n = held;
      });
      now.upTo(n);
      note();
      const values = now.map(paper), error = now.error(paper);
      maps.title(figure, "mask", "Mask " + n, "score " + number(scores[last]));
      const made = mask(last), context = canvases.mask.getContext("2d");
      canvases.mask.width = canvases.mask.height = side;
      const pixels = context.createImageData(side, side);
      made.forEach((v, p) => { pixels.data[4 * p + 3] = Math.round(255 * (1 - v)); });
      context.putImageData(pixels, 0, 0);
      paint("map", values, "Map of " + n + " masks");
      maps.title(figure, "map", n > 1 ? "The map of " + n + " masks" : "The map of 1 mask", "relative error " + reads(error));
      let agree = "";
      if (other) {
        other.upTo(n);
        const others = other.map(paper), r = correlation(values, others);
        paint("other", others, "Map of " + n + " other masks");
        maps.title(figure, "other", "The map of " + n + " other masks", "correlation of the two " + number(r));
        agree = " Its correlation with the map of " + n + " other masks is " + number(r) + ".";
      } else {
        paint("other", new Float64Array(side * side), "No masks are left to compare with");
        maps.title(figure, "other", "No other masks are left", "all " + now.most + " are in one draw");
      }
      trace();
      if (!playing) maps.say(figure, n + (n > 1 ? " masks, divided by " : " mask, divided by ") + (paper ? "N p" : "their coverage") + ": relative error " + reads(error) + "." + agree);
    };
    const reads = error => (error === null ? "needs more masks" : isFinite(error) ? number(error) : "beyond measure: noise is all there is");

    const go = count => {
      n = Math.max(1, Math.min(now.most, count));
      controls.set("n", n);
      show();
    };
    const stop = () => {
      clearTimeout(playing);
      playing = null;
      $('[data-control="play"]', figure).textContent = "Add masks";
      show();
    };
    // A twentieth more at each step; whoever asked for less motion sees twice as many, now and then.
    const tick = () => {
      if (n >= now.most) return stop();
      go(slow.matches ? 2 * n : n + Math.max(1, Math.round(n / 20)));
      playing = setTimeout(tick, slow.matches ? 900 : 110);
    };
    const acts = {
      play: () => {
        if (playing) return stop();
        if (n >= now.most) go(1);
        $('[data-control="play"]', figure).textContent = "Pause";
        playing = setTimeout(tick, 110);
      },
      step: () => { if (playing) stop(); go(n >= now.most ? 1 : n + 1); },
      again: () => {
        const k = controls.get("draw"), next = k === "all" ? 0 : (+k + 1) % data.draws;
        controls.set("draw", next);
        acts.draw();
      },
      draw: () => {
        look();
        $('[data-control="n"]', figure).max = now.most;
        go(Math.min(n, now.most));
      },
      by: show,
      n: value => { if (playing) stop(); n = value; show(); },
    };
    const controls = sinb.controls(figure, (name, value) => acts[name](value), {n: value => String(value)});
    look();
    go(n);
  });
})();
