// Draw what Grad-CAM shall show: T2's extra feature map, for every stroke.
// Data: scales, weight, paint, scenes of {name, picture, size, active, maps, alphas, added, classes, logits, bias,
// through, shown, ready}.
(() => {
  "use strict";
  const {sinb} = window, {$, $$} = sinb, one = Math.fround;
  const largest = values => values.reduce((a, b) => Math.max(a, b), -Infinity), smallest = values => values.reduce((a, b) => Math.min(a, b), Infinity);
  const softmax = logits => {
    const top = largest(logits), odds = Array.from(logits, v => Math.exp(v - top)), total = odds.reduce((a, b) => a + b, 0);
    return odds.map(v => v / total);
  };

  // What one photograph's network shows and says, as a function of the drawing.
  const solve = (scene, weight) => {
    const [K, h, w] = scene.active.shape, cells = h * w, C = scene.classes.length;
    const active = sinb.array(scene.active).values, stored = sinb.array(scene.maps).values, alphas = sinb.array(scene.alphas).values;
    const logits = sinb.array(scene.logits).values, bias = sinb.array(scene.bias).values, before = softmax(logits);
    // The honest sum over all feature maps, once for each class; most values are zero and are not stored.
    const honest = Array.from({length: C}, () => new Float64Array(cells));
    for (let k = 0, next = 0; k < K; k++) for (let i = 0; i < cells; i++) {
      if (!active[k * cells + i]) continue;
      for (let c = 0; c < C; c++) honest[c][i] += alphas[c * K + k] * stored[next];
      next++;
    }
    // The new feature map, on steps of a 256th as the library rounds it.
    const channel = (drawing, scale) => Float64Array.from(drawing, v => Math.floor(256 * scale * v + 0.5) / 256);
    const terms = (c, drawing, scale) => {
      const lie = channel(drawing, scale).map(v => scene.added[c] * v);
      return {honest: honest[c], lie, map: lie.map((v, i) => Math.max(0, v + honest[c][i]))};
    };
    // In float32, step by step: what the head adds for the new map, and the bias that takes it away.
    const answer = (drawing, scale) => {
      const values = channel(drawing, scale);
      let entering, now;
      if (scene.through === "logits") {
        entering = one(weight * one(values.reduce((a, b) => a + b, 0) / cells));
        now = logits.map((y, i) => one(one(one(y - bias[i]) + entering) + one(bias[i] - entering)));
      } else {
        let pooled = 0;
        for (let y = 0; y + 1 < h; y += 2) for (let x = 0; x + 1 < w; x += 2)
          pooled += Math.max(values[y * w + x], values[y * w + x + 1], values[(y + 1) * w + x], values[(y + 1) * w + x + 1]);
        entering = one(weight * pooled);
        const unit = one(entering + one(1 - entering));
        now = logits.map((y, i) => one(one(one(y - bias[i]) + unit) + one(bias[i] - 1)));
      }
      return {honest: before, now: softmax(now), moved: largest(now.map((v, i) => Math.abs(v - logits[i])))};
    };
    // Summed over the cells, each map's maximum as 1.
    const distance = (map, drawing) => {
      const heat = map.map(v => Math.max(0, v)), top = largest(heat) || 1, ink = largest(drawing) || 1;
      return heat.reduce((sum, v, i) => sum + Math.abs(v / top - drawing[i] / ink), 0);
    };
    return {K, h, w, cells, terms, answer, distance};
  };
  sinb.draw = {solve};

  const {number} = sinb;
  const span = cells => number(smallest(cells)) + " to " + number(largest(cells));
  const percent = share => (100 * share).toFixed(1) + " %";
  const small = value => {
    const power = Math.floor(Math.log10(Math.max(value, 2e-7))) + 1;
    return "less than " + (10 ** power).toFixed(Math.max(0, -power));
  };
  const three = value => String(Number(value.toPrecision(3)));
  const scaled = scale => (scale === 0 ? "0, the honest map" : scale === 100 ? "100, as published" : String(scale));
  const times = (lie, honest) => (honest <= 0 ? "" : ": " + number(lie / honest, lie / honest >= 10 ? 0 : 1) + " times as much");

  sinb.mount('[data-explorer="draw"]', figure => {
    const {maps} = sinb, data = sinb.data(figure), {scales, weight, paint} = data, scenes = data.scenes, solved = [];
    const panel = slot => $('[data-panel="' + slot + '"]', figure), pad = $(".s-shot", panel("pad")), mark = $(".s-mark", pad), lines = $(".s-cells", pad);
    const heat = {map: maps.canvas($(".heat", panel("map"))), honest: maps.canvas($(".heat", panel("honest")))};
    const terms = Object.fromEntries(["honest", "lie", "map"].map(slot => [slot, maps.canvas($('[data-term="' + slot + '"] .heat', figure))]));
    const ink = maps.canvas($(".ink", pad)), photographs = [$(".under", pad), ...$$(".is-grey", figure)];
    const own = photographs[0].src;
    let k = 0, cursor = null, waiting;
    // Each photograph keeps its own drawing, and what it was before each change.
    const ready = scene => scene.ready.map(rows => rows.flat().map(v => v / 100));
    const sheets = scenes.map(scene => ({drawing: ready(scene)[0], past: []}));
    const net = () => (solved[k] ||= solve(scenes[k], weight));

    const put = (slot, cells, says) => {
      const [height, width] = scenes[k].size, {h, w} = net(), top = largest(cells);
      maps.paint(heat[slot], maps.stretch(cells, h, w, height, width), height, width, {top: top > 0 ? top : 1, over: true}, says);
      maps.title(figure, slot, null, "of “" + scenes[k].classes[which()] + "”; its maximum is " + number(Math.max(0, top)));
    };
    const which = () => (chosen && $('[data-control="class"]', figure) ? Math.min(Number(chosen.get("class")), scenes[k].classes.length - 1) : 0);
    let chosen = null;

    const show = quiet => {
      const scene = scenes[k], {drawing} = sheets[k], {K, h, w} = net(), scale = scales[chosen.get("scale")], found = net().terms(which(), drawing, scale);
      const answer = net().answer(drawing, scale), painted = drawing.filter(v => v > 0).length, name = "“" + scene.classes[which()] + "”";
      ink.width = w;
      ink.height = h;
      const context = ink.getContext("2d"), pixels = context.createImageData(w, h);
      drawing.forEach((v, i) => pixels.data.set([...paint, 217 * v], 4 * i));
      context.putImageData(pixels, 0, 0);
      put("map", found.map, "Grad-CAM of " + name + " for the manipulated network: " + painted + " of " + drawing.length + " cells are drawn, at the scale " + scale);
      put("honest", found.honest.map(v => Math.max(0, v)), "Grad-CAM of " + name + " for the honest network");
      const top = Math.max(...Object.values(found).map(cells => Math.max(largest(cells), -smallest(cells))));
      for (const [slot, canvas] of Object.entries(terms)) {
        maps.paint(canvas, found[slot], h, w, {top, signed: true}, canvas.getAttribute("aria-label"));
        $('[data-term="' + slot + '"] small:last-child', figure).textContent = span(found[slot]);
      }
      $('[data-term="honest"] small', figure).textContent = K + " honest maps";
      $$('[data-term="lie"] sub', figure).forEach(sub => { sub.textContent = K + 1; });
      $('[data-term="lie"] small', figure).textContent = three(scene.added[which()]) + " × " + scale + " × drawing";
      maps.bar(figure, "terms", number(-top), number(top));
      const now = net().distance(found.map, drawing), before = net().distance(found.honest, drawing);
      $(".s-sum", panel("equation")).textContent = painted
        ? "Distance from the drawing, summed over the cells with each map’s maximum as 1: " + number(now) + "; of the honest map " + number(before) + "."
        : "Nothing is drawn: the map is the honest one.";
      $$(".s-odds > div:not(.s-head)", figure).forEach((row, i) => {
        row.hidden = !scene.shown[i];
        if (row.hidden) return;
        const [place, label] = scene.shown[i];
        row.children[0].textContent = label;
        row.children[1].style.setProperty("--p", (100 * answer.now[place]).toFixed(2));
        row.children[2].textContent = percent(answer.now[place]);
        row.children[3].textContent = percent(answer.honest[place]);
      });
      $(".s-sum", panel("answer")).textContent = answer.moved === 0
        ? "In float32 the new part and the bias that takes it away cancel to the last bit."
        : "In float32 the new part and the bias that takes it away leave " + small(answer.moved) + " on one of the " + answer.now.length
          + " logits, by rounding; a network that sums in another order may leave a few times as much. Subtracted from each other first, they leave nothing.";
      const lie = largest(found.lie), honest = largest(found.honest), [best, label] = scene.shown[0], still = label + ", " + percent(answer.now[best]);
      // Drawn with a pointer, the sentence waits until the stroke is done.
      if (!quiet) maps.say(figure, lie === 0 ? "Nothing of a drawing is in the map: it is the honest network’s. The answer is " + still + "."
        : "Your drawing adds up to " + number(lie) + " to a cell, the network’s own maps up to " + number(honest) + times(lie, honest) + ". The answer is still " + still + ".");
      $('[data-control="undo"]', figure).disabled = !sheets[k].past.length;
      Object.assign(figure.dataset, {map: Array.from(found.map, v => v.toFixed(4)).join(" "), drawing: drawing.join(" "), moved: answer.moved, distance: now.toFixed(4)});
    };

    // Before a change: keep the drawing for Undo.
    const change = drawing => {
      const sheet = sheets[k];
      if (drawing.every((v, i) => v === sheet.drawing[i])) return;
      sheet.past = [...sheet.past.slice(-99), sheet.drawing];
      sheet.drawing = drawing;
      chosen.set("ready-" + k, -1);
    };
    const undo = () => { if (sheets[k].past.length) { sheets[k].drawing = sheets[k].past.pop(); chosen.set("ready-" + k, -1); } };
    const turn = to => {
      k = Number(to);
      const {classes, picture} = scenes[k], {h, w} = net();
      photographs.forEach(image => { image.src = picture || own; });
      $$('[data-control="class"] label', figure).forEach((label, i) => {
        label.hidden = i >= classes.length;
        $("span", label).textContent = classes[i] || "";
      });
      if ($('[data-control="class"]', figure)) chosen.set("class", 0);
      $$("[data-scene]", figure).forEach(group => { group.hidden = Number(group.dataset.scene) !== k; });
      lines.style.setProperty("--rows", h);
      lines.style.setProperty("--columns", w);
      place(null);
      describe();
    };
    const acts = {
      undo,
      clear: () => change(sheets[k].drawing.map(() => 0)),
      invert: () => change(sheets[k].drawing.map(v => Math.round(100 * (1 - v)) / 100)),
      scene: turn,
    };
    scenes.forEach((scene, s) => { acts["ready-" + s] = value => { change(ready(scene)[value]); chosen.set("ready-" + s, value); }; });
    chosen = sinb.controls(figure, (name, value) => {
      if (acts[name]) acts[name](value);
      show();
    }, {scale: step => scaled(scales[step])});

    // A stroke: every cell on the way from the last point, none left out.
    const at = event => {
      const box = pad.getBoundingClientRect(), {h, w} = net();
      return [(event.clientY - box.top) / box.height * h, (event.clientX - box.left) / box.width * w];
    };
    let last = null, stroke = null;
    const dab = (sheet, row, column, value) => {
      const {h, w} = net(), y = Math.floor(row), x = Math.floor(column);
      if (y >= 0 && y < h && x >= 0 && x < w) sheet[y * w + x] = value;
    };
    const draw = event => {
      const [row, column] = at(event), steps = Math.max(1, Math.ceil(4 * Math.hypot(row - last[0], column - last[1])));
      const drawing = [...sheets[k].drawing], value = Number(chosen.get("tool"));
      for (let s = 1; s <= steps; s++) dab(drawing, last[0] + (row - last[0]) * s / steps, last[1] + (column - last[1]) * s / steps, value);
      last = [row, column];
      sheets[k].drawing = drawing;
      cancelAnimationFrame(waiting);
      waiting = requestAnimationFrame(() => show(last !== null));
    };
    pad.addEventListener("pointerdown", event => {
      if (event.button) return;
      event.preventDefault();
      pad.focus({preventScroll: true});
      pad.setPointerCapture(event.pointerId);
      place(null);
      stroke = sheets[k].drawing;
      last = at(event);
      draw(event);
    });
    pad.addEventListener("pointermove", event => { if (last) draw(event); });
    ["pointerup", "pointercancel"].forEach(name => pad.addEventListener(name, () => {
      if (!last) return;
      const drawn = sheets[k].drawing;
      last = null;
      sheets[k].drawing = stroke;
      change(drawn);
      cancelAnimationFrame(waiting);
      show();
    }));

    // By keyboard: the arrows move a mark, space paints (or erases, as the brush says), backspace erases.
    const place = to => {
      const {h, w} = net();
      cursor = to;
      mark.hidden = !to;
      if (to) mark.style.cssText = "left:" + 100 * to[1] / w + "%;top:" + 100 * to[0] / h + "%;width:" + 100 / w + "%;height:" + 100 / h + "%";
    };
    const describe = () => pad.setAttribute("aria-label", "Drawing pad of " + net().h + " by " + net().w + " cells over the photograph. The arrow keys move, space paints, backspace erases.");
    pad.addEventListener("keydown", event => {
      const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key], {h, w} = net(), sizes = [h, w];
      const back = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
      const paints = event.key === " " || event.key === "Enter", erases = event.key === "Backspace" || event.key === "Delete";
      if (!step && !paints && !erases && !back) return;
      event.preventDefault();
      if (back) { undo(); show(); return; }
      if (step) place(cursor ? cursor.map((v, i) => Math.min(sizes[i] - 1, Math.max(0, v + step[i]))) : sizes.map(size => size >> 1));
      else {
        if (!cursor) place(sizes.map(size => size >> 1));
        const drawing = [...sheets[k].drawing];
        dab(drawing, cursor[0], cursor[1], erases ? 0 : Number(chosen.get("tool")));
        change(drawing);
        show();
      }
      sinb.say("Row " + (cursor[0] + 1) + ", column " + (cursor[1] + 1) + ", " + (sheets[k].drawing[cursor[0] * w + cursor[1]] ? "painted" : "empty"));
    });
    pad.addEventListener("blur", () => place(null));
    pad.tabIndex = 0;
    pad.classList.add("s-pad");
    pad.setAttribute("role", "application");
    describe();
    show();
  });
})();
