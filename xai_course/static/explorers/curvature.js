// A few neurons in the plane: along a level line the score stays, and the gradient turns.
// Data: weights (J, 2), bias, out, shift, point, betas, top, reach, fine, grid, steps, bands, arrow, path.
(() => {
  "use strict";
  const {sinb} = window, {$, $$} = sinb, SIDE = 300;

  // The score and its gradient, walks along level lines, and turns; beta null stands for ReLU.
  const network = ({weights, bias, out, shift, steps: usual}) => {
    const J = weights.length, at = (j, x, y) => weights[j][0] * x + weights[j][1] * y + bias[j];
    const score = ([x, y], beta) => {
      let total = 0;
      for (let j = 0; j < J; j++) {
        const z = at(j, x, y);
        total += out[j] * (Math.max(z, 0) + (beta === null ? 0 : Math.log1p(Math.exp(-beta * Math.abs(z))) / beta));
      }
      return total + shift;
    };
    const slope = ([x, y], beta) => {
      let a = 0, b = 0;
      for (let j = 0; j < J; j++) {
        const z = at(j, x, y), on = out[j] * (beta === null ? Number(z > 0) : 1 / (1 + Math.exp(-beta * z)));
        a += on * weights[j][0];
        b += on * weights[j][1];
      }
      return [a, b];
    };
    const tangent = ([a, b]) => {
      const size = Math.hypot(a, b);
      return size > 1e-6 ? [b / size, -a / size] : [0, 0];
    };
    // At each step by the midpoint's tangent, then back to the level.
    const walk = (start, length, beta, steps = usual) => {
      const level = score(start, beta), h = length / steps;
      let x = start;
      for (let s = 0; s < steps; s++) {
        let t = tangent(slope(x, beta));
        t = tangent(slope([x[0] + h / 2 * t[0], x[1] + h / 2 * t[1]], beta));
        x = [x[0] + h * t[0], x[1] + h * t[1]];
        const g = slope(x, beta), square = g[0] * g[0] + g[1] * g[1];
        if (square <= 1e-12) continue;
        const off = (score(x, beta) - level) / square, size = Math.abs(off) * Math.sqrt(square), share = off * Math.min(1, Math.abs(h) / (size || 1));
        x = [x[0] - share * g[0], x[1] - share * g[1]];
      }
      return x;
    };
    // Between two gradients, in degrees.
    const angle = (a, b) => {
      const cross = Math.abs(a[0] * b[1] - a[1] * b[0]), dot = a[0] * b[0] + a[1] * b[1];
      return cross + Math.abs(dot) > 1e-12 ? Math.atan2(cross, dot) * 180 / Math.PI : 0;
    };
    const turn = (point, step, beta) => angle(slope(point, beta), slope(walk(point, step, beta), beta));
    return {score, slope, walk, angle, turn};
  };
  // The centres of cells × cells over the window, from the upper left.
  const plane = (cells, reach) => Array.from({length: cells * cells}, (_, i) => {
    const at = k => ((k + 0.5) / cells * 2 - 1) * reach;
    return [at(i % cells), -at(Math.floor(i / cells))];
  });
  sinb.curvature = {network, plane};

  sinb.mount('[data-explorer="curvature"]', figure => {
    const {maps, number} = sinb, data = sinb.data(figure), {reach, fine, grid, bands, top, betas, arrow} = data, net = network(data);
    const pad = $('[data-panel="plane"] .s-shot', figure), drawn = {score: maps.canvas($("img.score", figure)), turn: maps.canvas($("img.turn", figure))};
    const wide = plane(fine, reach), coarse = plane(grid, reach), width = top / bands;
    let point = [...data.point], turns = [], known = "";

    const place = ([x, y]) => [SIDE / 2 * (1 + x / reach), SIDE / 2 * (1 - y / reach)];
    const text = ([x, y]) => x.toFixed(1) + " " + y.toFixed(1);
    const shaft = (from, g) => {
      const size = Math.hypot(...g);
      if (size < 1e-6) return "M0 0";
      const [x, y] = place(from), [u, v] = [g[0] / size, -g[1] / size], long = arrow * SIDE / 2 / reach, tip = [x + long * u, y + long * v];
      const head = s => [tip[0] - 9 * u - s * 6 * v, tip[1] - 9 * v + s * 6 * u];
      return "M" + text([x, y]) + "L" + text(tip) + "M" + text(head(1)) + "L" + text(tip) + "L" + text(head(-1));
    };
    const level = beta => {
      const [most, stride] = data.path, ways = [-stride, stride].map(way => {
        const line = [];
        for (let i = 0, x = point; i < most; i++) {
          x = net.walk(x, way, beta, 2);
          line.push(place(x));
          if (Math.max(...x.map(Math.abs)) > reach) break;
        }
        return line;
      });
      return "M" + [...ways[0].reverse(), place(point), ...ways[1]].map(text).join("L");
    };
    const put = (kind, at) => $$("circle." + kind, figure).forEach(dot => {
      const [x, y] = place(at);
      dot.setAttribute("cx", x.toFixed(1));
      dot.setAttribute("cy", y.toFixed(1));
    });

    const show = quiet => {
      const beta = chosen.get("rectifier") === "relu" ? null : betas[chosen.get("beta")], step = chosen.get("step");
      $('[data-control="beta"]', figure).disabled = beta === null;
      if (known !== beta + " " + step) {
        maps.paint(drawn.score, wide.map(x => (Math.floor(net.score(x, beta) / width) + 0.5) * width), fine, fine, {top, signed: true}, "The score over the plane, in bands");
        turns = coarse.map(x => net.turn(x, step, beta));
        maps.paint(drawn.turn, turns, grid, grid, {top: 90}, "The turn for every place: at most " + Math.max(...turns).toFixed(0) + " degrees");
        maps.title(figure, "turns", null, "of the gradient over a walk of " + step.toFixed(2) + " along the level line");
        known = beta + " " + step;
      }
      const end = net.walk(point, step, beta), slopes = [net.slope(point, beta), net.slope(end, beta)], scores = [net.score(point, beta), net.score(end, beta)];
      const turned = net.angle(...slopes), change = number(scores[1] - scores[0], 3), largest = Math.max(...turns).toFixed(0);
      const line = level(beta);
      $$("path.level", figure).forEach(path => path.setAttribute("d", line));
      [["here", point, slopes[0]], ["there", end, slopes[1]]].forEach(([kind, at, g]) => {
        $$('[data-arrow="' + kind + '"]', figure).forEach(path => path.setAttribute("d", shaft(at, g)));
        put(kind, at);
      });
      $('[data-big="turn"] b', figure).textContent = turned.toFixed(1) + "°";
      $('[data-big="change"] b', figure).textContent = change;
      $(".s-sum", figure).textContent = "Score at both ends: " + number(scores[0]) + " and " + number(scores[1]) + ". From "
        + (100 * turns.filter(v => v > 10).length / turns.length).toFixed(0) + " % of the window’s " + turns.length + " places it turns by more than 10°, at most by " + largest + "°.";
      if (!quiet) maps.say(figure, "After a walk of " + step.toFixed(2) + " along the level line of " + number(scores[0]) + " the score has changed by " + change
        + ", and the gradient has turned by " + turned.toFixed(1) + "°. Of " + turns.length + " places in the window the largest turn is " + largest + "°.");
      Object.assign(figure.dataset, {point: point.map(v => v.toFixed(4)).join(" "), end: end.map(v => v.toFixed(6)).join(" "), turn: turned.toFixed(6), scores: scores.map(v => v.toFixed(8)).join(" ")});
    };
    const acts = {
      most: () => { point = [...coarse[turns.indexOf(Math.max(...turns))]]; },
      again: () => { point = [...data.point]; },
    };
    const chosen = sinb.controls(figure, name => {
      if (acts[name]) acts[name]();
      show();
    }, {beta: place => "β = " + betas[place], step: value => value.toFixed(2)});

    const inside = v => Math.min(reach, Math.max(-reach, v));
    const at = event => {
      const box = pad.getBoundingClientRect();
      return [(2 * (event.clientX - box.left) / box.width - 1) * reach, (1 - 2 * (event.clientY - box.top) / box.height) * reach].map(inside);
    };
    let held = false;
    pad.addEventListener("pointerdown", event => {
      event.preventDefault();
      pad.focus({preventScroll: true});
      pad.setPointerCapture(event.pointerId);
      held = true;
      point = at(event);
      show(true);
    });
    pad.addEventListener("pointermove", event => {
      if (!held) return;
      point = at(event);
      show(true);
    });
    ["pointerup", "pointercancel"].forEach(name => pad.addEventListener(name, () => { if (held) { held = false; show(); } }));
    pad.addEventListener("keydown", event => {
      const step = {ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]}[event.key];
      if (!step) return;
      event.preventDefault();
      point = point.map((v, i) => inside(v + 0.05 * step[i]));
      show();
    });
    pad.tabIndex = 0;
    pad.classList.add("s-pad");
    pad.setAttribute("role", "application");
    pad.setAttribute("aria-label", "The plane. The arrow keys move the point.");
    show();
  });
})();
